"""A step of a common decoder on the CPU: no modules, memory that a step's layers share, one product for q, k and v.

At one token a layer of a small model is a few dozen microseconds of arithmetic, so what Python does around it counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import gelu, silu

from tgi_autoround.engine.attention import StepLayout
from tgi_autoround.engine.attention_cpu import CpuAttention
from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.decoder.families import Activation
from tgi_autoround.engine.decoder.norm import RmsNorm
from tgi_autoround.engine.decoder.products import Product, product
from tgi_autoround.engine.decoder.rotation import SignedTables, rotate
from tgi_autoround.engine.decoder.weights import DecoderWeights, LayerWeights, Norm

MLP_ROWS = 128
"""Rows that go through an MLP together: what lies between its products stays in the CPU's cache."""
ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": partial(silu, inplace=True),
    "gelu": gelu,
    "gelu_tanh": partial(gelu, approximate="tanh"),
}


@dataclass(frozen=True, slots=True)
class StepOutput:
    """logits: float32 [1, rows asked for, vocabulary]."""

    logits: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: RmsNorm
    qkv: Product
    heads: RmsNorm | None
    rotary: int
    attention: AttentionOptions
    o: Product
    after_attention: RmsNorm | None
    before_mlp: RmsNorm
    gate_up: Product
    down: Product
    after_mlp: RmsNorm | None


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows that go through an MLP together, and what it writes to; gate and up are the halves of gate_up."""

    state: torch.Tensor
    gate_up: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    activated: torch.Tensor
    output: torch.Tensor


class _Scratch:
    """What the layers of one step write to, one after the other."""

    def __init__(self, state: torch.Tensor, weights: DecoderWeights, cache_dtype: torch.dtype) -> None:
        heads, kv_heads, first = weights.heads, weights.kv_heads, weights.layers[0]
        tokens = state.shape[0]
        self.qkv = torch.empty(tokens, first.qkv.out_features)
        self._by_head = self.qkv.view(tokens, -1, weights.head_dim)
        self._rounded = torch.empty_like(self._by_head, dtype=cache_dtype) if cache_dtype != state.dtype else None
        self.query_and_key = self._by_head[:, : heads + kv_heads]
        attends = (self._by_head if self._rounded is None else self._rounded).transpose(0, 1)
        self.query, self.key, self.value = torch.split(attends, [heads, kv_heads, kv_heads])
        self.attended_row = torch.empty(tokens, first.o.in_features)
        self.attended = self.attended_row.view(tokens, heads, weights.head_dim)
        self.output = torch.empty(tokens, first.o.out_features)
        gate_up = torch.empty(min(tokens, MLP_ROWS), first.gate_up.out_features)
        activated = torch.empty(min(tokens, MLP_ROWS), first.down.in_features)
        self.blocks = []
        for rows, output in zip(torch.split(state, MLP_ROWS), torch.split(self.output, MLP_ROWS), strict=True):
            size = rows.shape[0]
            gate, up = gate_up[:size].chunk(2, dim=1)
            self.blocks.append(_Block(rows, gate_up[:size], gate, up, activated[:size], output))

    def round_for_cache(self) -> None:
        """Make queries, keys and values from qkv in the type that the cache holds."""
        if self._rounded is not None:
            self._rounded.copy_(self._by_head)


class CpuDecoder:
    """Called as the engine calls a model of transformers, in float32; positions are below `max_positions`."""

    def __init__(self, weights: DecoderWeights, max_positions: int) -> None:
        self._weights = weights
        rotaries = {id(layer.rotary): layer.rotary for layer in weights.layers}
        self._tables = {key: SignedTables.of(rotary, max_positions) for key, rotary in rotaries.items()}
        self._layers = [_bind(layer, weights) for layer in weights.layers]
        self._final_norm, self._head = RmsNorm(weights.final_norm), product(weights.head)
        self._activate = ACTIVATIONS[weights.activation]

    @property
    def device(self) -> torch.device:
        """Where tokens are expected."""
        return self._weights.embedding.device

    def __call__(
        self,
        *,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        logits_to_keep: torch.Tensor,
        step: StepLayout,
        use_cache: bool = False,
    ) -> StepOutput:
        """input_ids, position_ids: int64 [1, tokens]; logits_to_keep: int64, the rows whose logits are wanted."""
        del use_cache
        state = self._weights.embedding[input_ids[0]]
        if self._weights.embedding_scale != 1.0:
            state.mul_(self._weights.embedding_scale)
        scratch, attention = _Scratch(state, self._weights, step.cache.keys[0].dtype), CpuAttention(step)
        rotations = {key: tables.at(position_ids[0]) for key, tables in self._tables.items()}
        for index, layer in enumerate(self._layers):
            self._attend(state, layer, index, rotations[layer.rotary], scratch, attention)
            for block in scratch.blocks:
                self._feed_forward(block, layer)
        return StepOutput(self._logits(state[logits_to_keep])[None])

    def _attend(
        self,
        state: torch.Tensor,
        layer: _Layer,
        index: int,
        rotation: SignedTables,
        scratch: _Scratch,
        attention: CpuAttention,
    ) -> None:
        layer.qkv(layer.before_attention(state), scratch.qkv)
        if layer.heads is not None:
            layer.heads(scratch.query_and_key, out=scratch.query_and_key)
        rotate(scratch.query_and_key, rotation)
        scratch.round_for_cache()
        attention(scratch.query, scratch.key, scratch.value, index, layer.attention, scratch.attended)
        layer.o(scratch.attended_row, scratch.output)
        _add(state, scratch.output, layer.after_attention)

    def _feed_forward(self, block: _Block, layer: _Layer) -> None:
        layer.gate_up(layer.before_mlp(block.state), block.gate_up)
        torch.mul(self._activate(block.gate), block.up, out=block.activated)
        layer.down(block.activated, block.output)
        _add(block.state, block.output, layer.after_mlp)

    def _logits(self, state: torch.Tensor) -> torch.Tensor:
        logits = torch.empty(len(state), self._weights.head.out_features)
        self._head(self._final_norm(state), logits)
        softcap = self._weights.logits_softcap
        return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _bind(layer: LayerWeights, weights: DecoderWeights) -> _Layer:
    return _Layer(
        before_attention=RmsNorm(layer.before_attention),
        qkv=product(layer.qkv),
        heads=_norm_of_heads(layer, weights),
        rotary=id(layer.rotary),
        attention=layer.attention,
        o=product(layer.o),
        after_attention=RmsNorm(layer.after_attention) if layer.after_attention else None,
        before_mlp=RmsNorm(layer.before_mlp),
        gate_up=product(layer.gate_up),
        down=product(layer.down),
        after_mlp=RmsNorm(layer.after_mlp) if layer.after_mlp else None,
    )


def _norm_of_heads(layer: LayerWeights, weights: DecoderWeights) -> RmsNorm | None:
    """One for queries and keys together, which lie side by side: a row of weights for each head."""
    if layer.query_norm is None or layer.key_norm is None:
        return None
    rows = (layer.query_norm.weight.expand(weights.heads, -1), layer.key_norm.weight.expand(weights.kv_heads, -1))
    return RmsNorm(Norm(torch.cat(rows), layer.query_norm.eps))


def _add(state: torch.Tensor, output: torch.Tensor, norm: RmsNorm | None) -> None:
    state.add_(output if norm is None else norm(output, out=output))
