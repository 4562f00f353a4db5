"""How each family of transformers' models is made to attend through the engine's cache."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tgi_autoround.engine.families import bloom, falcon, gpt_neo, gptj, interface, mpt, stablelm
from tgi_autoround.engine.families.rope import check_rope
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class OwnAttention:
    """A family whose attention does not get what transformers' interface would hand it; `install` sees to that."""

    model_type: str
    install: Callable[[Any, int], None]


OWN_ATTENTION = (
    OwnAttention("bloom", bloom.install),
    OwnAttention("codegen", gptj.install_codegen),
    OwnAttention("falcon", falcon.install),
    OwnAttention("gpt_neo", gpt_neo.install),
    OwnAttention("gptj", gptj.install_gptj),
    OwnAttention("mpt", mpt.install),
    OwnAttention("stablelm", stablelm.install),
)
UNDECLARED_INTERFACES = ("biogpt",)
"""They call transformers' attention interface and do not say so (5.23: no `_supports_attention_backend`)."""


def install(model: Any, max_tokens: int) -> None:
    """Make a transformers model attend by `attend_step`, for sequences of up to `max_tokens`.

    The model's call takes the keyword argument `step` from then on. Raises UnsupportedError where it would be wrong.
    """
    check_rope(model.config, max_tokens)
    model_type = model.config.model_type
    for family in OWN_ATTENTION:
        if family.model_type == model_type:
            family.install(model, max_tokens)
            return
    if not (getattr(model, "_supports_attention_backend", False) or model_type in UNDECLARED_INTERFACES):
        raise UnsupportedError(
            f"{type(model).__name__} has its own attention code, which the engine does not serve yet"
        )
    interface.install(model, max_tokens)


def check_every_layer_attended(cache: KVCache) -> None:
    """Call after a step. Raises UnsupportedError where layers mix tokens in another way than by attention.

    Convolutions and recurrences would mix the sequences that share a row, and keep no state between steps.
    """
    missing = set(range(len(cache.keys))) - cache.layers_used
    if missing:
        raise UnsupportedError(
            f"layers {', '.join(map(str, sorted(missing)))} do not attend through transformers' attention interface, "
            "so the engine cannot serve this model yet"
        )
