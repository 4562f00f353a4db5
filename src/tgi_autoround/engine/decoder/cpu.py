"""A step of a common decoder on the CPU: no modules, memory that a step's layers share, one product for q, k and v.

At one token a layer of a small model is a few dozen microseconds of arithmetic, so what Python does around it counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import gelu, rms_norm, silu

from tgi_autoround.engine.attention import StepLayout, attend_step
from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.decoder.families import Activation
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
class _HeadNorm:
    """RMSNorm over each head: weight [heads + kv_heads, head_dim]."""

    weight: torch.Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: Norm
    qkv: Product
    head_norm: _HeadNorm | None
    tables: SignedTables
    attention: AttentionOptions
    o: Product
    after_attention: Norm | None
    before_mlp: Norm
    gate_up: Product
    down: Product
    after_mlp: Norm | None


class _Scratch:
    """What the layers of one step write to, one after the other."""

    def __init__(self, tokens: int, weights: DecoderWeights) -> None:
        heads, kv_heads, first = weights.heads, weights.kv_heads, weights.layers[0]
        self.qkv = torch.empty(tokens, first.qkv.out_features)
        by_head = self.qkv.view(tokens, -1, weights.head_dim)
        self.query_and_key = by_head[:, : heads + kv_heads]
        self.query, self.key, self.value = torch.split(by_head.transpose(0, 1), [heads, kv_heads, kv_heads])
        self.output = torch.empty(tokens, first.o.out_features)
        rows = min(tokens, MLP_ROWS)
        self.gate_up = torch.empty(rows, first.gate_up.out_features)
        self.activated = torch.empty(rows, first.down.in_features)


class CpuDecoder:
    """Called as the engine calls a model of transformers, in float32; positions are below `max_positions`."""

    def __init__(self, weights: DecoderWeights, max_positions: int) -> None:
        self._weights = weights
        tables = {id(layer.rotary): SignedTables.of(layer.rotary, max_positions) for layer in weights.layers}
        self._layers = [_bind(layer, tables[id(layer.rotary)], weights) for layer in weights.layers]
        self._head = product(weights.head)
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
        scratch = _Scratch(len(state), self._weights)
        rotations = {id(layer.tables): layer.tables for layer in self._layers}
        rotations = {key: tables.at(position_ids[0]) for key, tables in rotations.items()}
        blocks = torch.split(state, MLP_ROWS)
        for index, layer in enumerate(self._layers):
            self._attend(state, layer, index, rotations[id(layer.tables)], scratch, step)
            for rows in blocks:
                self._feed_forward(rows, layer, scratch)
        return StepOutput(self._logits(state[logits_to_keep])[None])

    def _attend(
        self,
        state: torch.Tensor,
        layer: _Layer,
        index: int,
        rotation: SignedTables,
        scratch: _Scratch,
        step: StepLayout,
    ) -> None:
        layer.qkv(_normed(state, layer.before_attention), scratch.qkv)
        if layer.head_norm is not None:
            _norm_heads(scratch.query_and_key, layer.head_norm)
        rotate(scratch.query_and_key, rotation)
        attended = attend_step(scratch.query, scratch.key, scratch.value, step, index, layer.attention)
        layer.o(attended.view(len(state), -1), scratch.output)
        _add(state, scratch.output, layer.after_attention)

    def _feed_forward(self, state: torch.Tensor, layer: _Layer, scratch: _Scratch) -> None:
        tokens = len(state)
        gate_up, activated, output = scratch.gate_up[:tokens], scratch.activated[:tokens], scratch.output[:tokens]
        layer.gate_up(_normed(state, layer.before_mlp), gate_up)
        gate, up = gate_up.chunk(2, dim=1)
        torch.mul(self._activate(gate), up, out=activated)
        layer.down(activated, output)
        _add(state, output, layer.after_mlp)

    def _logits(self, state: torch.Tensor) -> torch.Tensor:
        logits = torch.empty(len(state), self._weights.head.out_features)
        self._head(_normed(state, self._weights.final_norm), logits)
        softcap = self._weights.logits_softcap
        return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _bind(layer: LayerWeights, tables: SignedTables, weights: DecoderWeights) -> _Layer:
    return _Layer(
        before_attention=layer.before_attention,
        qkv=product(layer.qkv),
        head_norm=_head_norm(layer, weights),
        tables=tables,
        attention=layer.attention,
        o=product(layer.o),
        after_attention=layer.after_attention,
        before_mlp=layer.before_mlp,
        gate_up=product(layer.gate_up),
        down=product(layer.down),
        after_mlp=layer.after_mlp,
    )


def _head_norm(layer: LayerWeights, weights: DecoderWeights) -> _HeadNorm | None:
    if layer.query_norm is None or layer.key_norm is None:
        return None
    rows = (layer.query_norm.weight.expand(weights.heads, -1), layer.key_norm.weight.expand(weights.kv_heads, -1))
    return _HeadNorm(torch.cat(rows), layer.query_norm.eps)


def _norm_heads(heads: torch.Tensor, norm: _HeadNorm) -> None:
    torch.mul(rms_norm(heads, heads.shape[-1:], None, norm.eps), norm.weight, out=heads)


def _normed(state: torch.Tensor, norm: Norm) -> torch.Tensor:
    return rms_norm(state, norm.weight.shape, norm.weight, norm.eps)


def _add(state: torch.Tensor, output: torch.Tensor, norm: Norm | None) -> None:
    state.add_(output if norm is None else _normed(output, norm))
