"""Attention over the engine's cache, called by transformers' model code through its attention interface.

One step is one row of tokens, [1, heads, tokens, head_dim]: first one token of every decoding sequence, in the order
of their slots, then the chunks of prompts that enter in this step. The step's layout arrives as the keyword argument
`step`, which transformers hands through from the model's call to here.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.errors import UnsupportedError

NAME = "tgi_autoround"
LAYER_TYPES = ("full_attention", "sliding_attention")
UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "position_bias", "head_mask")


@dataclass(frozen=True, slots=True)
class PromptChunk:
    """Prompt tokens `start..stop` of the sequence in `slot`, at `offset` of the step's row."""

    slot: int
    start: int
    stop: int
    offset: int


@dataclass(frozen=True, slots=True)
class StepLayout:
    """Which tokens of the row belong to whom.

    decode_positions: int64 [batch], the position of each decoding sequence's token
    decode_mask: bool [batch, 1, 1, longest], True where a position exists already
    """

    cache: KVCache
    decode_positions: torch.Tensor
    decode_mask: torch.Tensor
    chunks: tuple[PromptChunk, ...]


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
    keys, values = step.cache.keys[module.layer_idx], step.cache.values[module.layer_idx]
    step.cache.layers_used.add(module.layer_idx)
    output = torch.empty_like(query[0].transpose(0, 1))
    batch = step.decode_positions.shape[0]
    if batch:
        rows = torch.arange(batch, device=query.device)
        keys[rows, :, step.decode_positions] = key[0, :, :batch].transpose(0, 1)
        values[rows, :, step.decode_positions] = value[0, :, :batch].transpose(0, 1)
        output[:batch] = _decode(query[0, :, :batch], keys[:batch], values[:batch], step.decode_mask, scaling)
    for chunk in step.chunks:
        row = slice(chunk.offset, chunk.offset + chunk.stop - chunk.start)
        keys[chunk.slot, :, chunk.start : chunk.stop] = key[0, :, row]
        values[chunk.slot, :, chunk.start : chunk.stop] = value[0, :, row]
        seen = keys[chunk.slot, :, : chunk.stop], values[chunk.slot, :, : chunk.stop]
        output[row] = _prefill(query[0, :, row], *seen, chunk.start, scaling)
    return output[None], None


def _decode(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """One token a sequence: query [heads, batch, head_dim] -> [batch, heads, head_dim].

    Query heads that share a key/value head go in as rows of one query, so that nothing is repeated.
    """
    longest = mask.shape[-1]
    heads, batch, width = query.shape
    grouped = query.transpose(0, 1).reshape(batch, keys.shape[1], -1, width)
    attended = scaled_dot_product_attention(
        grouped, keys[:, :, :longest], values[:, :, :longest], attn_mask=mask, scale=scaling
    )
    return attended.reshape(batch, heads, width)


def _prefill(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int, scaling: float | None
) -> torch.Tensor:
    """A chunk that begins at position `start`: query [heads, tokens, head_dim] -> [tokens, heads, head_dim]."""
    tokens, seen = query.shape[1], keys.shape[1]
    mask = None
    if start:
        mask = torch.ones(tokens, seen, dtype=torch.bool, device=query.device).tril(diagonal=start)
    attended = scaled_dot_product_attention(
        query[None],
        keys[None],
        values[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[0] != keys.shape[0],
    )
    return attended[0].transpose(0, 1)


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
