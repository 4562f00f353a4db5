"""Several layers that read the same input, side by side: q/k/v or gate/up fused into one, whatever their widths."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.checkpoint.sharding import can_concatenate, concatenate
from tgi_autoround.kernels import KERNELS, Kernel, select
from tgi_autoround.linear import QLinear

Part = QLinear | nn.Linear


@dataclass(frozen=True, slots=True)
class FusedLinear:
    """Linears of a model, by their paths, that are loaded as one at `path`: their outputs one after the other."""

    path: str
    parts: tuple[str, ...]


def grouped(paths: Iterable[str], fused: Iterable[FusedLinear]) -> list[FusedLinear]:
    """Return what to load for the layers at `paths`: fused ones where all parts are among them, the rest alone."""
    left = dict.fromkeys(paths)
    whole = [layer for layer in fused if left.keys() >= set(layer.parts)]
    for layer in whole:
        for part in layer.parts:
            del left[part]
    return [*whole, *(FusedLinear(path, (path,)) for path in left)]


class CompositeQLinear(nn.Module):
    """A linear whose output features are those of its parts, one after the other; a part may be in floating point."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.in_features = parts[0].in_features
        self.out_features = sum(part.out_features for part in parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the parts' outputs: [..., in_features] -> [..., out_features], in x's dtype."""
        return torch.cat([part(x) for part in self.parts], dim=-1)


def side_by_side(
    weights: Iterable[NormalForm | nn.Linear],
    device: torch.device,
    dtype: torch.dtype,
    *,
    exact: bool = False,
    kernels: tuple[Kernel, ...] = KERNELS,
) -> Part | CompositeQLinear:
    """Return one module that computes the outputs of all `weights`; equal neighbours become one layer.

    Linears, for parts that stay in floating point, are taken as they are; `exact` is as in `select`. Raises
    UnsupportedError where no kernel takes a part.
    """
    parts = [
        weight
        if isinstance(weight, nn.Linear)
        else QLinear(weight, select(weight.spec, device, dtype, exact=exact, kernels=kernels), device, dtype)
        for weight in _merged(weights)
    ]
    return parts[0] if len(parts) == 1 else CompositeQLinear(parts)


def _merged(weights: Iterable[NormalForm | nn.Linear]) -> Iterator[NormalForm | nn.Linear]:
    run: list[NormalForm] = []
    for weight in weights:
        if run and not (isinstance(weight, NormalForm) and can_concatenate(run[0], weight)):
            yield concatenate(run)
            run = []
        if isinstance(weight, NormalForm):
            run.append(weight)
        else:
            yield weight
    if run:
        yield concatenate(run)
