"""Models whose code calls transformers' attention interface: their attention becomes `attend_step`.

The step's layout arrives as the keyword argument `step`, which transformers hands through from the model's call.
"""

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tgi_autoround.engine.attention import StepLayout, attend_step
from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.errors import UnsupportedError

NAME = "tgi_autoround"
LAYER_TYPES = ("full_attention", "sliding_attention")
UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "position_bias", "head_mask")


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: StepLayout | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Store keys and values, attend. query [1, heads, tokens, head_dim] -> [1, tokens, heads, head_dim]."""
    del attention_mask
    _refuse_unsupported(module, step, kwargs)
    assert step is not None
    output = attend_step(query[0], key[0], value[0], step, module.layer_idx, AttentionOptions(scaling))
    return output[None], None


def _refuse_unsupported(module: Any, step: StepLayout | None, arguments: dict[str, Any]) -> None:
    """Runs at warm-up too, so a model that needs more than this is refused before the server is up."""
    name = type(module).__name__
    if step is None:
        raise UnsupportedError(f"{name} does not hand arguments to its attention, so the engine cannot serve it")
    for argument in UNSUPPORTED_ARGUMENTS:
        if arguments.get(argument) is not None:
            raise UnsupportedError(f"{name} asks its attention for {argument}, which the engine does not do yet")
    window = arguments.get("sliding_window")
    if window is not None and window < step.cache.keys[0].shape[2]:
        raise UnsupportedError(
            f"{name} attends to a window of {window} tokens, which the engine does not do yet; "
            f"serve it with --max-total-tokens {window} or less"
        )


def install(model: Any) -> None:
    """Make a transformers model call `attend`. Raises UnsupportedError where its code has no attention interface."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    if not getattr(model, "_supports_attention_backend", False):
        raise UnsupportedError(
            f"{type(model).__name__} has its own attention code, which the engine does not serve yet"
        )
    others = set(getattr(model.config, "layer_types", None) or ()) - set(LAYER_TYPES)
    if others:
        raise UnsupportedError(
            f"{type(model).__name__} has layers of type {', '.join(sorted(others))}, which are not served yet"
        )
    model.set_attn_implementation(NAME)


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


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """The step's layout says who sees what."""
