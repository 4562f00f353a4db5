"""What a kernel is: it says which layers it takes, turns a normal form into its own buffers, and multiplies."""

from collections.abc import Mapping
from typing import Protocol

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm


class Kernel(Protocol):
    """One way to multiply activations by a quantized weight. Implementations hold no state."""

    name: str
    exact: bool
    """False where activations are rounded too, so that results differ from fp32 arithmetic by more than 1e-5."""

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Return None where the kernel takes the layer, else the reason why it does not."""
        ...

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Return what the buffers of `prepare` take in bytes, without the bias."""
        ...

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Return the buffers that `forward` reads, on `device`; `weight` may be dropped afterwards."""
        ...

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Return `x @ weight + bias`: [..., in_features] -> [..., out_features], in x's dtype."""
        ...
