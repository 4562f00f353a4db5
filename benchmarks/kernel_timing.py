"""Layers, errors and times of kernels on this machine's GPU: what the kernel benchmarks have in common."""

import torch

from tgi_autoround.bench.timing import CUDA, Run, copies_beyond_the_cache, median_us, random_layer
from tgi_autoround.checkpoint import NormalForm

__all__ = ["CUDA", "Run", "copies_beyond_the_cache", "cublas", "error", "median_us", "random_layer"]


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


def cublas(out_features: int, in_features: int, dtype: torch.dtype) -> list[Run]:
    """Return unquantized products of the same shape, by the vendor's library."""
    dense = torch.randn(out_features, in_features, device=CUDA, dtype=dtype)
    copies = [dense.clone() for _ in range(copies_beyond_the_cache(dense.nbytes))]
    return [lambda x, weight=weight: torch.nn.functional.linear(x, weight) for weight in copies]
