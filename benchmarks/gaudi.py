#!/usr/bin/env python3
"""What can be measured of Gaudi's kernels without a Gaudi: what rounding costs, and how fast layers are repacked.

    python benchmarks/gaudi.py

- rounding: the demo model's layers rounded to nearest (asymmetric, scales in float16); as they are, with scales rounded
  to bfloat16, and as the card has them (products rounded too), all scored in float32 on held-out text.
- packing: a 4096 x 14336 layer from its file's tensors to the buffers for the card, medians of 7 of the processor time
  of one thread, which other work on the machine changes least.

Writes benchmarks/results/gaudi.json and renews the tables in docs/gaudi.md. The op is emulated on the CPU.
"""

import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme
from tgi_autoround.checkpoint.normal_form import unpack
from tgi_autoround.kernels import select
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts/lib")]

from demo_model.perplexity import score  # noqa: E402

import hpu_emulation  # noqa: E402

MODEL = ROOT / "assets/demo-model"
RESULTS = ROOT / "benchmarks/results/gaudi.json"
DOCS = ROOT / "docs/gaudi.md"
CPU, BF16 = torch.device("cpu"), torch.bfloat16
KERNELS = (HpuUint4Kernel("cpu"), HpuInt8Kernel("cpu"))
GROUP_SIZES = {2: 64, 3: 128, 4: 128, 8: 128}
LAYER = (4096, 14336)
PACKINGS = ((4, Packing.GPTQ), (4, Packing.AWQ), (3, Packing.GPTQ), (2, Packing.GPTQ), (8, Packing.GPTQ))
REPETITIONS = 7


@dataclass(frozen=True)
class Rounding:
    """Relative L2 errors: of quantizing, and what rounded scales and the card add to it; and perplexities."""

    weights: str
    quantization_error: float
    scales_error: float
    card_error: float
    perplexity: float
    perplexity_scales: float
    perplexity_card: float


@dataclass(frozen=True)
class PackingTime:
    """Seconds of processor time: the file's words to codes, and codes to the card's buffers."""

    layer: str
    unpack_s: float
    repack_s: float


def main() -> None:
    torch.set_num_threads(1)
    hpu_emulation.register()
    roundings = [rounding(bits, group_size) for bits, group_size in GROUP_SIZES.items()]
    packings = [packing_time(bits, layout) for bits, layout in PACKINGS]
    report = {
        "command": "python benchmarks/gaudi.py",
        "machine": {"cpu_count": os.cpu_count(), "architecture": platform.machine()},
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "rounding": [asdict(row) for row in roundings],
        "packing": [asdict(row) for row in packings],
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    renew("rounding", rounding_table(roundings))
    renew("packing", packing_table(packings))


def rounding(bits: int, group_size: int) -> Rounding:
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    linears = {name: module for name, module in model.named_modules() if ".layers." in name and is_linear(module)}
    source = {name: module.weight.detach().clone() for name, module in linears.items()}
    layers = [rounded(name, weight, bits, group_size) for name, weight in source.items()]
    return Rounding(
        f"W{bits} g{group_size}",
        _error(layers, NormalForm.dequantize, lambda layer: source[layer.spec.name]),
        _error(layers, with_rounded_scales, NormalForm.dequantize),
        _error(layers, on_card, NormalForm.dequantize),
        *(_perplexity(model, layers, make) for make in (NormalForm.dequantize, with_rounded_scales, on_card)),
    )


def is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def rounded(name: str, weight: torch.Tensor, bits: int, group_size: int) -> NormalForm:
    """A linear's weight [N, K] in asymmetric groups from the lowest to the highest value."""
    scheme = QuantScheme(bits, group_size, False, Packing.GPTQ_RAW)
    spec = LayerSpec(name, scheme, weight.shape[1], weight.shape[0], has_bias=False)
    groups = weight.t().reshape(spec.num_groups, group_size, spec.out_features)
    low, high = groups.amin(dim=1).clamp(max=0), groups.amax(dim=1).clamp(min=0)
    highest_code = (1 << bits) - 1
    scales = ((high - low) / highest_code).half()
    zero_points = (-low / scales.float()).round()
    codes = (groups / scales.float()[:, None] + zero_points[:, None]).round().clamp(0, highest_code)
    return NormalForm(spec, codes.flatten(0, 1).to(torch.uint8), zero_points.to(torch.int16), scales)


def with_rounded_scales(layer: NormalForm) -> torch.Tensor:
    return replace(layer, scales=layer.scales.bfloat16().float()).dequantize()


def on_card(layer: NormalForm) -> torch.Tensor:
    """The weight that the card multiplies by, as torch.nn.Linear holds it."""
    kernel: Any = select(layer.spec, CPU, BF16, kernels=KERNELS)
    weight: torch.Tensor = kernel.weight(kernel.prepare(layer, CPU, BF16), layer.spec)
    return weight.float().t()


@torch.no_grad()
def _perplexity(model: Any, layers: list[NormalForm], make: Callable[[NormalForm], torch.Tensor]) -> float:
    for layer in layers:
        model.get_submodule(layer.spec.name).weight.copy_(make(layer))
    texts = [json.loads(line)["text"] for line in (MODEL / "heldout.jsonl").read_text("utf-8").splitlines()]
    return score(model, AutoTokenizer.from_pretrained(MODEL), texts).perplexity


@torch.no_grad()
def _error(
    layers: list[NormalForm],
    got: Callable[[NormalForm], torch.Tensor],
    expected: Callable[[NormalForm], torch.Tensor],
) -> float:
    """Relative L2 error over all layers together."""
    pairs = [(got(layer).double(), expected(layer).double()) for layer in layers]
    return float((sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)) ** 0.5)


def packing_time(bits: int, layout: Packing) -> PackingTime:
    in_features, out_features = LAYER
    spec = LayerSpec("layer", QuantScheme(bits, 128, False, layout), in_features, out_features, has_bias=False)
    random = torch.Generator().manual_seed(0)
    shape = (in_features, out_features // 8) if layout is Packing.AWQ else (in_features * bits // 32, out_features)
    words = torch.randint(-(2**31), 2**31, shape, generator=random).to(torch.int32)
    zeros = torch.zeros(spec.num_groups, out_features * bits // 32, dtype=torch.int32)
    scales = torch.rand(spec.num_groups, out_features, generator=random).half()
    kernel = select(spec, CPU, BF16, kernels=KERNELS)
    unpack_s, repack_s = [], []
    for _ in range(REPETITIONS):
        started_s = time.process_time()
        weight = unpack(spec, words, zeros, scales)
        unpacked_s = time.process_time()
        kernel.prepare(weight, CPU, BF16)
        unpack_s.append(unpacked_s - started_s)
        repack_s.append(time.process_time() - unpacked_s)
    return PackingTime(f"W{bits} {layout.value}", statistics.median(unpack_s), statistics.median(repack_s))


def rounding_table(rows: list[Rounding]) -> str:
    lines = [
        "| weights | error of quantizing | added by bf16 scales | by the card's weights "
        "| perplexity, exact | bf16 scales | card's weights |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.weights} | {row.quantization_error:.2%} | {row.scales_error:.2%} | {row.card_error:.2%} "
        f"| {row.perplexity:.3f} | {row.perplexity_scales:.3f} | {row.perplexity_card:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def packing_table(rows: list[PackingTime]) -> str:
    lines = ["| layer, 4096 x 14336 | words to codes | codes to the card's buffers | both |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.layer} | {row.unpack_s:.2f} s | {row.repack_s:.2f} s | {row.unpack_s + row.repack_s:.2f} s |"
        for row in rows
    ]
    return "\n".join(lines)


def renew(name: str, table: str) -> None:
    pattern = re.compile(rf"(?<=<!-- {name}:begin -->\n).*(?=\n<!-- {name}:end -->)", re.DOTALL)
    DOCS.write_text(pattern.sub(table, DOCS.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
