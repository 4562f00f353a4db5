"""Layers, errors and times of kernels on this machine's GPU: what the kernel benchmarks have in common."""

import statistics
from collections.abc import Callable, Sequence

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme

CUDA = torch.device("cuda", 0)
BYTES_BEYOND_THE_CACHE = 250_000_000
LAUNCHES_IN_GRAPH = 12

Run = Callable[[torch.Tensor], torch.Tensor]
"""x [rows, in_features] -> x @ weight + bias, without host synchronisation, so that graphs can capture it."""


def random_layer(
    bits: int, group_size: int, in_features: int, out_features: int, *, sym: bool, bias: bool = False
) -> NormalForm:
    """A layer on the GPU: scales of both signs, zero points over their whole range, a bias that both types hold."""
    scheme = QuantScheme(bits, group_size, sym, Packing.GPTQ)
    spec = LayerSpec("random", scheme, in_features, out_features, bias)
    in_groups, most = (spec.num_groups, out_features), 1 << bits
    zero_points = torch.randint(1, most + 1, in_groups, device=CUDA, dtype=torch.int16)
    return NormalForm(
        spec,
        codes=torch.randint(0, most, (in_features, out_features), device=CUDA, dtype=torch.uint8),
        zero_points=torch.full_like(zero_points, most // 2) if sym else zero_points,
        scales=(torch.randn(in_groups, device=CUDA) * 0.02).half(),
        bias=torch.randn(out_features, device=CUDA).bfloat16().half() if bias else None,
    )


def weight_in_float64(layer: NormalForm) -> torch.Tensor:
    """Return the weight [out_features, in_features] by the normal form's definition."""
    groups = torch.arange(layer.spec.in_features, device=CUDA) // layer.spec.group_size
    groups = groups.clamp(max=layer.spec.num_groups - 1)
    weight = (layer.codes.double() - layer.zero_points.double()[groups]) * layer.scales.double()[groups]
    return weight.t()


def error(run: Run, layer: NormalForm, rows: int, dtype: torch.dtype, *, graph: bool) -> float:
    """Return the relative error against float64, as a Frobenius norm, on fresh inputs; what was not written is NaN."""
    x = torch.randn(rows, layer.spec.in_features, device=CUDA).to(dtype)
    if graph:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            y = run(x)
        x.copy_(torch.randn_like(x))
        y.fill_(float("nan"))
        captured.replay()
    else:
        poison = torch.full((rows, layer.spec.out_features), float("nan"), device=CUDA, dtype=dtype)
        del poison  # the allocator gives its memory to the output
        y = run(x)
    expected = x.double() @ weight_in_float64(layer).t()
    if layer.bias is not None:
        expected += layer.bias.double()
    found = float((y.double() - expected).norm() / expected.norm())
    return float("inf") if found != found else found


def copies_beyond_the_cache(weight_bytes: int) -> int:
    """Return how many copies of a weight no cache holds together."""
    return max(2, -(-BYTES_BEYOND_THE_CACHE // weight_bytes))


def median_us(runs: Sequence[Run], x: torch.Tensor, *, replays: int = 7) -> float:
    """Return the time of a run in a CUDA graph that goes through `runs`, which have different weights, in turn."""
    launches = [runs[index % len(runs)] for index in range(max(LAUNCHES_IN_GRAPH, len(runs)))]
    launches[0](x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in launches:
            run(x)
    spans = []
    for _ in range(replays):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        spans.append(start.elapsed_time(stop) * 1000 / len(launches))
    return statistics.median(spans[1:])


def cublas(out_features: int, in_features: int, dtype: torch.dtype) -> list[Run]:
    """Return unquantized products of the same shape, by the vendor's library."""
    dense = torch.randn(out_features, in_features, device=CUDA, dtype=dtype)
    copies = [dense.clone() for _ in range(copies_beyond_the_cache(dense.nbytes))]
    return [lambda x, weight=weight: torch.nn.functional.linear(x, weight) for weight in copies]
