"""Times of products on the present GPU: CUDA graphs that go through weights which no cache holds together."""

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
    spans: list[float] = []
    for _ in range(replays):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        spans.append(start.elapsed_time(stop) * 1000 / len(launches))
    return statistics.median(spans[1:])
