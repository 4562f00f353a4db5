"""Experts for TGI's fused Marlin layer, used only where it agrees with the reference on this very device.

It never ran where this package was developed. So while the model loads, two experts of random weights, of the width,
groups and shapes of the model's own, are run by both, and a difference stops the server with a sentence.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from text_generation_server.layers.marlin.gptq import GPTQMarlinWeight, GPTQMarlinWeightsLoader
from text_generation_server.layers.moe.gptq_marlin import fused_marlin_moe
from text_generation_server.utils.weights import Weights

from tgi_autoround.checkpoint import Checkpoint, LayerSpec, NormalForm
from tgi_autoround.checkpoint.sharding import concatenate
from tgi_autoround.errors import ConfigError, UnsupportedError
from tgi_autoround.tgi.fused_experts import DTYPE, expert_layers, is_expert
from tgi_autoround.tgi.loader import AutoRoundWeightsLoader
from tgi_autoround.tgi.marlin import BOUND, ROWS_CHECKED, SWITCH, MarlinKernel
from tgi_autoround.tgi.weight import AutoRoundWeight

EXPERTS_CHECKED = 2


class MarlinExpertsLoader(AutoRoundWeightsLoader, GPTQMarlinWeightsLoader):  # type: ignore[misc]
    """Experts as GPTQMarlinWeight, everything else as AutoRoundWeightsLoader gives it.

    By the second base class and its attributes TGI chooses its fused layer (layers/moe/__init__.py:269, 3.3.7). Only
    for checkpoints that `fused_experts.are_fused` takes.
    Raises ConfigError where TGI runs in another dtype than float16, UnsupportedError where the fused layer is wrong.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        AutoRoundWeightsLoader.__init__(self, checkpoint)
        self._scheme = expert_layers(checkpoint)[0].scheme
        GPTQMarlinWeightsLoader.__init__(
            self,
            bits=self._scheme.bits,
            desc_act=False,
            groupsize=self._scheme.group_size,
            quant_method="gptq",
            quantize="gptq",
            sym=True,
        )

    def get_multi_weights_col(self, weights: Weights, prefixes: list[str], dim: int) -> Any:
        """Return this rank's outputs of each layer, one layer after the other: of an expert, gate and up."""
        weight = super().get_multi_weights_col(weights, prefixes, dim)
        return marlin_weight(_layer_of(weight), weights.device) if is_expert(prefixes[0]) else weight

    def get_weights_row(self, weights: Weights, prefix: str) -> Any:
        """Return the part of the layer that reads this rank's inputs."""
        weight = super().get_weights_row(weights, prefix)
        if not is_expert(prefix):
            return weight
        layer = _layer_of(weight)
        down = replace(layer.spec, name="down")
        gate_up = LayerSpec("gate and up", self._scheme, down.out_features, 2 * down.in_features, has_bias=False)
        check_once(gate_up, down, weights.device)
        return marlin_weight(layer, weights.device)


def marlin_weight(layer: NormalForm, device: torch.device) -> Any:
    """Return a layer as TGI's fused layer stacks it. Raises UnsupportedError as MarlinKernel does."""
    buffers = MarlinKernel().prepare(layer, device, DTYPE)
    none = buffers["none"]
    return GPTQMarlinWeight(
        qweight=buffers["qweight"],
        qzeros=none,
        scales=buffers["scales"],
        g_idx=none,
        perm=none,
        bits=layer.spec.scheme.bits,
        is_full_k=True,
    )


@functools.cache
def check_once(gate_up: LayerSpec, down: LayerSpec, device: torch.device) -> None:
    """Raise UnsupportedError where TGI's fused layer, over random experts, differs from the reference."""
    random = torch.Generator(device).manual_seed(0)
    experts = [(_random_layer(gate_up, random), _random_layer(down, random)) for _ in range(EXPERTS_CHECKED)]
    packed = [tuple(marlin_weight(layer, device) for layer in expert) for expert in experts]
    for rows in ROWS_CHECKED:
        x = torch.randn(rows, gate_up.in_features, generator=random, device=device).to(DTYPE)
        preference = torch.randn(rows, 1, generator=random, device=device).to(DTYPE)
        logits = torch.cat([preference, -preference], dim=-1)
        outputs = _every_expert(x, experts)
        for chosen in range(1, EXPERTS_CHECKED + 1):
            try:
                y = _fused(x, logits, packed, chosen)
            except (AssertionError, RuntimeError, TypeError) as refusal:
                raise UnsupportedError(_advice(gate_up, down, f"failed on {rows} rows: {refusal}")) from refusal
            expected = (outputs * _shares(logits, chosen)).sum(dim=1)
            error = float((y.float() - expected).norm() / expected.norm())
            if not error <= BOUND:
                raise UnsupportedError(_advice(gate_up, down, f"is off by {error:.2g} on {rows} rows"))


def _layer_of(weight: AutoRoundWeight) -> NormalForm:
    if weight.dtype != DTYPE:
        raise ConfigError(
            f"--dtype {str(weight.dtype).removeprefix('torch.')}: TGI's fused Marlin layer for experts computes in "
            f"float16; give --dtype float16, or set {SWITCH}=0 in the server's environment to do without that layer"
        )
    return concatenate(cast(list[NormalForm], weight.parts))


def _random_layer(spec: LayerSpec, random: torch.Generator) -> NormalForm:
    """Scales of both signs, as AutoRound writes them, that keep outputs near 1."""
    codes_of, groups_of = (spec.in_features, spec.out_features), (spec.num_groups, spec.out_features)
    levels = 1 << spec.scheme.bits
    spread = torch.rand(groups_of, generator=random, device=random.device) - 0.5
    return NormalForm(
        spec,
        codes=torch.randint(levels, codes_of, generator=random, device=random.device, dtype=torch.uint8),
        zero_points=torch.full(groups_of, levels // 2, dtype=torch.int16, device=random.device),
        scales=(spread * 12 / levels / spec.in_features**0.5).half(),
    )


def _every_expert(x: torch.Tensor, experts: Sequence[tuple[NormalForm, NormalForm]]) -> torch.Tensor:
    """Return what every expert makes of every row: float32 [rows, experts, out_features]."""
    outputs = []
    for gate_up, down in experts:
        gate, up = (x.float() @ gate_up.dequantize().t()).chunk(2, dim=-1)
        outputs.append((torch.nn.functional.silu(gate) * up) @ down.dequantize().t())
    return torch.stack(outputs, dim=1)


def _shares(logits: torch.Tensor, chosen: int) -> torch.Tensor:
    """Return the experts' shares in every row, 0 for those that are not chosen: float32 [rows, experts, 1]."""
    shares, experts = logits.float().softmax(dim=-1).topk(chosen, dim=-1)
    return torch.zeros_like(logits, dtype=torch.float32).scatter(1, experts, shares).unsqueeze(-1)


def _fused(x: torch.Tensor, logits: torch.Tensor, packed: Sequence[Sequence[Any]], chosen: int) -> torch.Tensor:
    """Multiply as TGI's GPTQMarlinSparseMoELayer does (layers/moe/gptq_marlin.py:119, 3.3.7)."""
    gate_up, down = zip(*packed, strict=True)
    none = torch.empty(len(packed), 0, dtype=torch.int32, device=x.device)
    y: torch.Tensor = fused_marlin_moe(
        hidden_states=x,
        w1=torch.stack([weight.qweight for weight in gate_up]),
        w2=torch.stack([weight.qweight for weight in down]),
        w1_scale=torch.stack([weight.scales for weight in gate_up]),
        w2_scale=torch.stack([weight.scales for weight in down]),
        g_idx1=none,
        g_idx2=none,
        sort_indices1=none,
        sort_indices2=none,
        is_k_full=True,
        gating_output=logits,
        topk=chosen,
        renormalize=False,
        num_bits=gate_up[0].bits,
        scoring_func="softmax",
    )
    return y


def _advice(gate_up: LayerSpec, down: LayerSpec, what: str) -> str:
    return (
        f"experts: gate and up {gate_up}, down {down}: TGI's fused Marlin layer {what}, against the reference on this "
        f"device; set {SWITCH}=0 in the server's environment to serve without Marlin, and please report it"
    )
