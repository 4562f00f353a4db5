"""Which Hopper kernel is the fastest, layer by layer, measured on the present GPU."""

import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from tgi_autoround.bench.timing import CUDA, Run, copies_beyond_the_cache, median_us, random_layer
from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels.cuda import HopperKernel, PortableKernel
from tgi_autoround.kernels.cuda.configuration import MAX_ROWS
from tgi_autoround.kernels.cuda.hopper import configuration, launches
from tgi_autoround.kernels.cuda.hopper.configuration import PORTABLE, Choice, Measured

ROWS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


def tune(
    bits: int, group_size: int, out_features: int, in_features: int, dtype: torch.dtype, say: Callable[[str], None]
) -> Measured:
    """Time every kernel that takes an asymmetric layer, for every number of rows; raises UnsupportedError for none."""
    layer = random_layer(bits, group_size, in_features, out_features, sym=False)
    spec, kernel = layer.spec, HopperKernel()
    reason = kernel.supports(spec, CUDA, dtype)
    if reason is not None:
        raise UnsupportedError(f"layer of {out_features}x{in_features}: {kernel.name} does not take it: {reason}")
    copies = copies_beyond_the_cache(kernel.weight_bytes(spec, dtype))
    weights = [kernel.prepare(layer, CUDA, dtype) for _ in range(copies)]
    fastest = []
    for rows in ROWS:
        x = torch.randn(rows, in_features, device=CUDA, dtype=dtype)
        times = {name: median_us(runs, x) for name, runs in _contenders(rows, spec, weights).items()}
        found = ", ".join(f"{name} {us:.1f} us" for name, us in times.items())
        say(f"{out_features}x{in_features} {rows} rows: {found}")
        fastest.append((rows, min(times, key=lambda name: times[name])))
    return Measured(bits, out_features, in_features, _merged(fastest))


def write(measured: list[Measured], device: str, table: Path = configuration.TABLE) -> None:
    """Put what was measured into the table, in place of what it has of the same layers."""
    new = {(each.bits, each.out_features, each.in_features): each for each in (*configuration.measured(), *measured)}
    lines = ",\n".join(f"  {json.dumps(asdict(each))}" for each in new.values())
    content = f'{{\n "device": {json.dumps(device)},\n "measured": [\n{lines}\n ]\n}}\n'
    table.write_text(content, encoding="utf-8")


def _contenders(rows: int, spec: LayerSpec, weights: list[dict[str, torch.Tensor]]) -> dict[str, list[Run]]:
    contenders: dict[str, list[Run]] = {
        name: [functools.partial(_run, buffers=each, spec=spec, choice=choice) for each in weights]
        for name, choice in configuration.choices(rows, spec).items()
    }
    if rows <= MAX_ROWS:
        portable = PortableKernel()
        contenders[PORTABLE] = [functools.partial(portable.forward, buffers=each, spec=spec) for each in weights]
    return contenders


def _run(x: torch.Tensor, buffers: dict[str, torch.Tensor], spec: LayerSpec, choice: Choice) -> torch.Tensor:
    return launches.multiply(x, buffers, spec, choice)


def _merged(fastest: list[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Of numbers of rows in sequence with the same kernel, keep the last."""
    return tuple(list(group)[-1] for _, group in itertools.groupby(fastest, key=lambda each: each[1]))
