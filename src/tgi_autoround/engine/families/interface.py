"""Models whose code calls transformers' attention interface: their attention becomes `attend_step`.

The step's layout arrives as the keyword argument `step`, which transformers hands through from the model's call. Which
keys a layer sees is said twice, by the mask that its model asks for and by an argument; both have to agree.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tgi_autoround.engine.attention import AttentionOptions, StepLayout, attend_step
from tgi_autoround.errors import UnsupportedError

NAME = "tgi_autoround"
LAYER_TYPES = ("full_attention", "sliding_attention")
WITHOUT_EFFECT = ("dropout", "is_causal", "output_attentions", "output_router_logits", "position_ids", "use_cache")
"""Arguments of the interface that say nothing which a step does not say, or nothing about attention."""


@dataclass(frozen=True, slots=True)
class CausalMask:
    """Stands in for a mask: a query sees itself and what is before it, `window` tokens at most in all."""

    window: int | None

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedError(f"this model reads {name} of its attention mask to mask in its own way, not served yet")


def install(model: Any, _max_tokens: int) -> None:
    """Make a transformers model call `attend`. Raises UnsupportedError where its layers do something else."""
    config = model.config.get_text_config()
    others = set(getattr(config, "layer_types", None) or ()) - set(LAYER_TYPES)
    if others:
        raise UnsupportedError(
            f"{type(model).__name__} has layers of type {', '.join(sorted(others))}, which are not served yet"
        )
    if getattr(config, "num_kv_shared_layers", 0):
        raise UnsupportedError(f"layers of {type(model).__name__} share keys and values, which is not served yet")
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _mask)
    model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: CausalMask | None,
    *,
    step: StepLayout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Store keys and values, attend. query [1, heads, tokens, head_dim] -> [1, tokens, heads, value_width].

    Refusals are raised at warm-up too, so a model that needs more than this is refused before the server is up.
    """
    if step is None:
        raise UnsupportedError(
            f"{type(module).__name__} does not hand arguments to its attention, so the engine cannot serve it"
        )
    _refuse_unknown(module, others)
    _check_stored_once(module, key, value, step)
    window = _window(module, attention_mask, sliding_window, step.cache.keys[0].shape[2])
    options = AttentionOptions(scaling, window, softcap, sinks=s_aux)
    return attend_step(query[0], key[0], value[0], step, module.layer_idx, options)[None], None


def _refuse_unknown(module: Any, arguments: dict[str, Any]) -> None:
    for name, value in arguments.items():
        if name not in WITHOUT_EFFECT and value is not None:
            raise UnsupportedError(
                f"{type(module).__name__} asks its attention for {name}, which the engine does not do yet"
            )


def _check_stored_once(module: Any, key: torch.Tensor, value: torch.Tensor, step: StepLayout) -> None:
    """The cache is as the model's config says, with one attention a layer."""
    name, layer = type(module).__name__, module.layer_idx
    held = [tuple(tensors[layer].shape[1::2]) for tensors in (step.cache.keys, step.cache.values)]
    stored = [tuple(states.shape[1::2]) for states in (key, value)]
    if stored != held:
        raise UnsupportedError(
            f"{name} stores keys and values of (heads, width) {stored} where its config says {held}; not served yet"
        )
    if layer in step.attended:
        raise UnsupportedError(f"{name} attends more than once a layer, which is not served yet")
    step.attended.add(layer)


def _window(module: Any, mask: CausalMask | None, argument: int | None, max_tokens: int) -> int | None:
    """A window that no request reaches is none."""
    window = mask.window if mask is not None else None
    if argument != window and min(argument or max_tokens, window or max_tokens) < max_tokens:
        raise UnsupportedError(
            f"{type(module).__name__} has a window of {window} tokens by its mask and of {argument} by its arguments; "
            "the engine cannot tell which it means"
        )
    return window


def _mask(*_args: Any, local_size: int | None = None, use_vmap: bool = False, **others: Any) -> CausalMask:
    """What a model's code gets where it asks transformers for a mask."""
    if use_vmap or "allow_is_bidirectional_skip" in others:
        raise UnsupportedError("this model's tokens do not see just those before them, which is not served yet")
    return CausalMask(local_size)
