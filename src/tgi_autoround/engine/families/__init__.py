"""How each family of transformers' models is made to attend through the engine's cache."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tgi_autoround.engine.families import bloom, dropped_arguments, falcon, gpt_neo, gptj, interface, mpt
from tgi_autoround.engine.families.rope import check_rope
from tgi_autoround.engine.families.tested import TESTED
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.errors import UnsupportedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnWay:
    """A family whose attention transformers' interface does not reach by itself, why, and what makes it attend."""

    model_type: str
    reason: str
    install: Callable[[Any, int], None]


CALLS_NO_INTERFACE = "its attention code calls no interface"
DROPS_ARGUMENTS = "its layers drop the arguments meant for the interface"
OWN_WAYS = (
    OwnWay("bloom", CALLS_NO_INTERFACE, bloom.install),
    OwnWay("codegen", CALLS_NO_INTERFACE, gptj.install_codegen),
    OwnWay("falcon", CALLS_NO_INTERFACE, falcon.install),
    OwnWay("gpt_neo", CALLS_NO_INTERFACE, gpt_neo.install),
    OwnWay("gptj", CALLS_NO_INTERFACE, gptj.install_gptj),
    OwnWay("mpt", CALLS_NO_INTERFACE, mpt.install),
    OwnWay("nemotron", DROPS_ARGUMENTS, dropped_arguments.install),
    OwnWay("stablelm", DROPS_ARGUMENTS, dropped_arguments.install),
)
UNDECLARED_INTERFACES = ("biogpt",)
"""They call transformers' attention interface and do not say so (5.23: no `_supports_attention_backend`)."""


def install(model: Any, max_tokens: int) -> None:
    """Make a transformers model attend by `attend_step`, for sequences of up to `max_tokens`.

    The model's call takes the keyword argument `step` from then on. Raises UnsupportedError where it would be wrong.
    """
    check_rope(model.config, max_tokens)
    model_type = model.config.model_type
    if model_type not in TESTED:
        logger.warning("models of type %s are served untested: compare some output with transformers' own", model_type)
    for way in OWN_WAYS:
        if way.model_type == model_type:
            logger.info("the attention of %s is replaced: %s", type(model).__name__, way.reason)
            way.install(model, max_tokens)
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
