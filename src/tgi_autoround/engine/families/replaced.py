"""Replaces the forward of a family's attention modules by one that calls `attend_step`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import transformers

from tgi_autoround.engine.attention import AttentionOptions, attend_step
from tgi_autoround.engine.families.step import CurrentStep
from tgi_autoround.errors import UnsupportedError


class Attend:
    """What a replaced forward calls in place of its own attention: one layer's `attend_step`."""

    def __init__(self, current: CurrentStep, layer: int, options: AttentionOptions) -> None:
        self._current = current
        self._layer = layer
        self._options = options

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query [tokens, heads, head_dim], key and value [tokens, kv_heads, head_dim] -> [1, tokens, hidden]."""
        query, key, value = (states.transpose(0, 1) for states in (query, key, value))
        return attend_step(query, key, value, self._current.layout, self._layer, self._options).flatten(1)[None]


def replace_attention(
    model: Any,
    class_name: str,
    attributes: Sequence[str],
    forward: Callable[..., Any],
    options: Callable[[Any], AttentionOptions],
) -> None:
    """Give every `class_name` module the forward `forward(module, attend, ...)`, with its own call's arguments.

    Raises UnsupportedError where this transformers' module lacks what `forward` reads of it.
    """
    current = CurrentStep(model)
    layers = [module for module in model.modules() if type(module).__name__ == class_name]
    missing = sorted({name for module in layers for name in attributes if not hasattr(module, name)})
    if not layers or missing:
        lacks = f"has no {class_name}" if not layers else f"{class_name} has no {', '.join(missing)}"
        raise UnsupportedError(
            f"{type(model).__name__} of transformers {transformers.__version__} {lacks}; "
            "the engine knows its attention as 5.17 to 5.23 have it, so install one of those"
        )
    for index, module in enumerate(layers):
        module.forward = partial(forward, module, Attend(current, index, options(module)))
