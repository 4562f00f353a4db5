"""Verify the CUDA kernel on this machine's GPU: errors against float64, CUDA graphs, memory, and times beside cuBLAS.

    python benchmarks/cuda_kernel_check.py [--skip-times]

Prints tables, writes benchmarks/results/cuda_kernel_check.json, and exits with 1 where an error is beyond its bound.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import triton
from kernel_timing import CUDA, Run, copies_beyond_the_cache, cublas, error, median_us, random_layer

from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.kernels.cuda import PortableKernel

RESULTS = Path(__file__).parent / "results/cuda_kernel_check.json"
BOUNDS = {
    ("integers", torch.float16): 0.0004,
    ("integers", torch.bfloat16): 0.0024,
    ("rounded", torch.float16): 0.0004,
    ("rounded", torch.bfloat16): 0.003,
}
"""Relative error, as a Frobenius norm, against float64 over the dequantized weights. Weights are multiplied as the
integers that they are, or scaled and rounded to x's type before: above 256 rows, and in groups that 32 does not divide.
"""

BITS = (2, 3, 4, 5, 8)
WHOLE_GROUPS, ODD_GROUPS = (32, 64, 128, -1), (8, 16, 48)
UP_TO_256_ROWS, MORE_ROWS = (*range(1, 65), 128, 200, 256), (257, 512, 2048)
CHECKS = (
    ("integers", WHOLE_GROUPS, UP_TO_256_ROWS),
    ("rounded", WHOLE_GROUPS, MORE_ROWS),
    ("rounded", ODD_GROUPS, (*UP_TO_256_ROWS, *MORE_ROWS)),
)
SHAPES = ((1024, 512), (1064, 1000))
"""in_features, out_features: whole tiles, and neither side a multiple of any tile."""

LLAMA_8B = {"o": (4096, 4096), "q/k/v": (4096, 6144), "gate/up": (4096, 28672), "down": (14336, 4096)}
TIMED_ROWS = (1, 8, 16, 32, 64, 128, 256, 512, 2048)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip-times", action="store_true", help="check results only")
    skip_times = parser.parse_args().skip_times
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(CUDA),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "errors": check_errors(),
        "memory": check_memory(),
        "times_us": [] if skip_times else list(times()),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    beyond = [each for each in found["errors"] if not max(each["eager"], each["graph"]) <= each["bound"]]
    sys.exit(f"{len(beyond)} errors are beyond their bounds: {beyond}" if beyond else 0)


def check_errors() -> list[dict[str, Any]]:
    """Return the largest errors of every scheme; processes share the work because compiling takes most of the time."""
    cases = list(itertools.product(BITS, (True, False), (torch.float16, torch.bfloat16)))
    jobs = min(len(cases), os.cpu_count() or 1)
    print(
        "| | type | weights | groups | rows | largest error | in a graph | bound |\n|---|---|---|---|---|---|---|---|"
    )
    found = []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for each in itertools.chain.from_iterable(pool.map(_errors_of, *zip(*cases, strict=True))):
            print("| {scheme} | {dtype} | {weights} | {groups} | {rows} |".format(**each), end="")
            print(" {eager:.5f} | {graph:.5f} | {bound} |".format(**each), flush=True)
            found.append(each)
    return found


def _errors_of(bits: int, sym: bool, dtype: torch.dtype) -> list[dict[str, Any]]:
    torch.manual_seed(bits)
    found = []
    for weights, groups, all_rows in CHECKS:
        errors: dict[bool, list[float]] = {False: [], True: []}
        for group_size, (in_features, out_features) in itertools.product(groups, SHAPES):
            layer = random_layer(bits, group_size, in_features, out_features, sym=sym, bias=group_size != 128)
            run = _prepared(layer, dtype)
            for graph, some_rows in ((False, all_rows), (True, all_rows[::16])):
                errors[graph] += [error(run, layer, rows, dtype, graph=graph) for rows in some_rows]
        found.append(
            {
                "scheme": f"W{bits} {'sym' if sym else 'asym'}",
                "dtype": str(dtype).removeprefix("torch."),
                "weights": weights,
                "groups": groups,
                "rows": f"{all_rows[0]} to {all_rows[-1]}",
                "eager": max(errors[False]),
                "graph": max(errors[True]),
                "bound": BOUNDS[weights, dtype],
            }
        )
    return found


def _prepared(layer: NormalForm, dtype: torch.dtype) -> Run:
    kernel = PortableKernel()
    reason = kernel.supports(layer.spec, CUDA, dtype)
    if reason is not None:
        sys.exit(f"the kernel does not run here: {reason}")
    buffers = kernel.prepare(layer, CUDA, dtype)
    return lambda x: kernel.forward(x, buffers, layer.spec)


def check_memory() -> dict[str, float]:
    """Return what a layer takes once it is loaded, beside its size in a file, and how long its packing takes."""
    kernel = PortableKernel()
    shape = LLAMA_8B["gate/up"]
    kernel.prepare(random_layer(4, 128, *shape, sym=False), CUDA, torch.bfloat16)  # allocates the workspace
    before = torch.cuda.memory_allocated()
    layer = random_layer(4, 128, *shape, sym=False)
    file = layer.codes.nbytes // 2 + layer.scales.nbytes + layer.zero_points.numel() // 2
    torch.cuda.synchronize()
    start = time.perf_counter()
    spec, buffers = layer.spec, kernel.prepare(layer, CUDA, torch.bfloat16)
    torch.cuda.synchronize()
    packing_ms = (time.perf_counter() - start) * 1000
    del layer
    loaded = torch.cuda.memory_allocated() - before
    print(f"\n{spec}: {loaded:,} B in {len(buffers)} buffers, {file:,} B in a file; packed in {packing_ms:.1f} ms")
    return {"loaded_bytes": loaded, "file_bytes": file, "loaded_over_file": loaded / file, "packing_ms": packing_ms}


def times() -> Iterator[dict[str, Any]]:
    """Yield medians of replayed CUDA graphs, over so many copies of the weights that no cache holds them."""
    print("\n| W4 g128 layer | rows | this kernel, sym, us | asym, us | bf16 cuBLAS, us | cuBLAS / asym |")
    print("|---|---|---|---|---|---|")
    for name, (in_features, out_features) in LLAMA_8B.items():
        layers = {"sym": True, "asym": False}
        runs = {kind: _copies(random_layer(4, 128, in_features, out_features, sym=sym)) for kind, sym in layers.items()}
        runs["bf16"] = cublas(out_features, in_features, torch.bfloat16)
        for rows in TIMED_ROWS:
            x = torch.randn(rows, in_features, device=CUDA, dtype=torch.bfloat16)
            us = {kind: median_us(of_kind, x) for kind, of_kind in runs.items()}
            speedup = us["bf16"] / us["asym"]
            shape = f"{name} {out_features}x{in_features}"
            print(f"| {shape} | {rows} | {us['sym']:.1f} | {us['asym']:.1f} | {us['bf16']:.1f} | {speedup:.2f} |")
            yield {"layer": name, "out_features": out_features, "in_features": in_features, "rows": rows, **us}


def _copies(layer: NormalForm) -> list[Run]:
    kernel = PortableKernel()
    copies = copies_beyond_the_cache(kernel.weight_bytes(layer.spec, torch.bfloat16))
    return [_prepared(layer, torch.bfloat16) for _ in range(copies)]


if __name__ == "__main__":
    main()
