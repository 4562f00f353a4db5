"""Errors and times of this project's CUDA kernels and of other libraries', on the same layers in one run."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
import triton
import triton.language as tl
from kernel_peers import CuBlas, Peer, peers
from kernel_plot import plot
from kernel_timing import CUDA, Run, copies_beyond_the_cache, error, median_us, random_layer

from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.kernels import select

RESULTS = Path(__file__).parent / "results"
LLAMA_8B = {"o": (4096, 4096), "q/k/v": (4096, 6144), "gate/up": (4096, 28672), "down": (14336, 4096)}
LLAMA_70B = {"o": (8192, 8192), "q/k/v": (8192, 10240), "gate/up": (8192, 57344), "down": (28672, 8192)}
ALL_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
FEW_ROWS = (1, 8, 16, 64, 256, 1024)
MAX_CHECKED_ROWS = 1024
BOUNDS = {torch.float16: 0.0004, torch.bfloat16: 0.0024}
OURS, STREAMING_READ, DEQUANTIZED = "ours", "read", "dequantize + cuBLAS"
WORDS_READ_BY_BLOCK = 4096
SLOW_PEERS_STOP_AFTER = 4.0
"""Times of cuBLAS: a peer that is this much slower is not timed on more rows."""


@dataclass(frozen=True)
class Case:
    """A layer of a model in one format."""

    model: str
    layer: str
    bits: int
    group_size: int
    sym: bool
    dtype: torch.dtype
    in_features: int
    out_features: int
    rows: tuple[int, ...]
    with_peers: bool = False
    """Where not, cuBLAS alone is beside ours."""

    @property
    def title(self) -> str:
        """What the table is about."""
        kind = f"W{self.bits} g{self.group_size} {'sym' if self.sym else 'asym'} {_name(self.dtype)}"
        return f"{self.model} {self.layer} {self.out_features}x{self.in_features}, {kind}"

    def layer_on_gpu(self) -> NormalForm:
        """Return a random layer; zero points stay below 2**bits, which Marlin cannot hold."""
        layer = random_layer(self.bits, self.group_size, self.in_features, self.out_features, sym=self.sym)
        return replace(layer, zero_points=layer.zero_points.clamp(max=(1 << self.bits) - 1))


@dataclass(frozen=True)
class Time:
    """One kernel on one number of rows; `error` is relative to float64, None where it was not checked."""

    case: str
    rows: int
    kernel: str
    us: float
    floor_us: float
    error: float | None


def compare(marlin: Path | None, *, quick: bool) -> list[str]:
    """Print the tables, write the results, and return the errors of this project's kernels beyond their bounds."""
    torch.manual_seed(0)
    ceilings = measure_ceilings()
    print(f"copy {ceilings['copy_tb_s']:.2f} TB/s, bf16 {ceilings['bf16_tflops']:.0f} TFLOP/s", flush=True)
    found: list[Time] = []
    beyond = []
    for case in cases(quick=quick):
        times = measure(case, peers(marlin), ceilings)
        beyond += [str(time) for time in times if time.kernel == OURS and (time.error or 0) > BOUNDS[case.dtype]]
        found += times
        _write(found, ceilings)
    if find_spec("matplotlib"):
        plot([asdict(each) for each in found], RESULTS / "kernels.svg")
    else:
        print("the plot needs matplotlib: pip install matplotlib && python benchmarks/kernel_plot.py")
    return beyond


def _write(found: list[Time], ceilings: dict[str, float]) -> None:
    machine = {"device": torch.cuda.get_device_name(CUDA), "torch": torch.__version__, **ceilings}
    (RESULTS / "kernels.json").write_text(json.dumps({**machine, "times": [asdict(each) for each in found]}) + "\n")


def cases(*, quick: bool) -> Iterator[Case]:
    """The 8B model in W4 g128 asym bf16 with every number of rows; other models and formats with few."""
    for layer, shape in LLAMA_8B.items():
        yield Case("8B", layer, 4, 128, False, torch.bfloat16, *shape, rows=ALL_ROWS, with_peers=True)
    if quick:
        return
    for layer, shape in LLAMA_70B.items():
        yield Case("70B", layer, 4, 128, False, torch.bfloat16, *shape, rows=FEW_ROWS)
    for layer in ("o", "gate/up"):
        for bits, group_size, sym, dtype in (
            (4, 128, True, torch.bfloat16),
            (4, 128, False, torch.float16),
            (4, 32, False, torch.bfloat16),
            (2, 128, False, torch.bfloat16),
            (3, 128, False, torch.bfloat16),
            (8, 128, True, torch.bfloat16),
        ):
            yield Case("8B", layer, bits, group_size, sym, dtype, *LLAMA_8B[layer], rows=FEW_ROWS)


def measure_ceilings() -> dict[str, float]:
    """Return the rates of a large copy (bytes read and written) and of a large product."""
    source, target = torch.randn(2, 2**28, device=CUDA)
    copy_us = median_us([lambda x: torch.neg(x, out=target)], source)
    matrix = torch.randn(8192, 8192, device=CUDA, dtype=torch.bfloat16)
    product_us = median_us([lambda x: x @ matrix], matrix)
    return {"copy_tb_s": 2 * 2**30 / copy_us * 1e-6, "bf16_tflops": 2 * 8192**3 / product_us * 1e-6}


def measure(case: Case, others: tuple[Peer, ...], ceilings: dict[str, float]) -> list[Time]:
    """Check and time every kernel on one layer, and print the table."""
    layer = case.layer_on_gpu()
    contestants = dict(_contestants(case, layer, others))
    print(f"\n**{case.title}** (us; in brackets the error)\n\n| rows | floor | {' | '.join(contestants)} |")
    print("|---" * (2 + len(contestants)) + "|", flush=True)
    found: list[Time] = []
    too_slow: set[str] = set()
    for rows in case.rows:
        times: dict[str, Time] = {}
        floor_us = _floor_us(case, layer, rows, ceilings)
        x = torch.randn(rows, case.in_features, device=CUDA).to(case.dtype)
        for name, runs in contestants.items():
            if runs and name not in too_slow:
                is_checked = rows <= MAX_CHECKED_ROWS and name != STREAMING_READ
                off = error(runs[0], layer, rows, case.dtype, graph=False) if is_checked else None
                times[name] = Time(case.title, rows, name, median_us(runs, x), floor_us, off)
        too_slow |= {name for name, time in times.items() if time.us > SLOW_PEERS_STOP_AFTER * times[CuBlas.name].us}
        print(f"| {rows} | {floor_us:.1f} | {' | '.join(_cell(times.get(name)) for name in contestants)} |", flush=True)
        found += times.values()
    return found


def _contestants(case: Case, layer: NormalForm, others: tuple[Peer, ...]) -> Iterator[tuple[str, list[Run]]]:
    """Every kernel with so many copies of its weight that no cache holds them; none where it cannot take the layer."""
    weights = case.in_features * case.out_features
    packed_bytes = weights * case.bits // 8
    copies = copies_beyond_the_cache(packed_bytes)
    yield STREAMING_READ, _reads(packed_bytes, copies)
    yield OURS, [_ours(layer, case.dtype) for _ in range(copies)]
    yield DEQUANTIZED, [_dequantized(layer, case.dtype) for _ in range(copies)]
    for peer in others if case.with_peers else others[:1]:
        reason = peer.reason_against(layer, case.dtype)
        if reason:
            print(f"{peer.name}: {reason}")
        copies_of_peer = copies_beyond_the_cache(2 * weights) if isinstance(peer, CuBlas) else copies
        yield peer.name, [] if reason else [peer.prepare(layer, case.dtype) for _ in range(copies_of_peer)]


def _ours(layer: NormalForm, dtype: torch.dtype) -> Run:
    kernel = select(layer.spec, CUDA, dtype)
    buffers = kernel.prepare(layer, CUDA, dtype)
    return lambda x: kernel.forward(x, buffers, layer.spec)


def _dequantized(layer: NormalForm, dtype: torch.dtype) -> Run:
    from tgi_autoround.kernels.cuda import launch, layout

    buffers = layout.pack(layer, CUDA, dtype)
    return lambda x: launch.multiply_dequantized(x, buffers, layer.spec)


def _reads(packed_bytes: int, copies: int) -> list[Run]:
    """Reading as many bytes as the packed weight has, and nothing else."""
    weights = [torch.randint(0, 2**15, (packed_bytes // 4,), device=CUDA, dtype=torch.int32) for _ in range(copies)]
    sums = torch.empty(packed_bytes // 4 // WORDS_READ_BY_BLOCK, device=CUDA, dtype=torch.int32)
    return [lambda _x, weight=weight: _read[sums.shape](weight, sums, WORDS_READ_BY_BLOCK) for weight in weights]


@triton.jit
def _read(words, sums, WORDS: tl.constexpr):
    block = tl.program_id(0)
    tl.store(sums + block, tl.sum(tl.load(words + block * WORDS + tl.arange(0, WORDS))))


def _floor_us(case: Case, layer: NormalForm, rows: int, ceilings: dict[str, float]) -> float:
    """The larger of the bytes over the rate of copying and of the operations over that of a large product."""
    weights = case.in_features * case.out_features
    in_group = 2 + (0 if case.sym else case.bits / 8)
    moved_bytes = weights * case.bits / 8 + layer.spec.num_groups * case.out_features * in_group
    moved_bytes += 2 * rows * (case.in_features + case.out_features)
    return max(moved_bytes / ceilings["copy_tb_s"], 2 * rows * weights / ceilings["bf16_tflops"]) * 1e-6


def _cell(time: Time | None) -> str:
    if time is None:
        return ""
    return f"{time.us:.1f}" if time.error is None else f"{time.us:.1f} ({time.error:.4f})"


def _name(dtype: torch.dtype) -> str:
    return {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
