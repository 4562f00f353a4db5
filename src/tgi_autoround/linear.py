"""QLinear: the buffers of one quantized layer and the kernel that multiplies by them."""

from dataclasses import replace

import torch
from torch import nn

from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.kernels import Kernel


class QLinear(nn.Module):
    """A drop-in for torch.nn.Linear whose weight stays packed in the form that its kernel reads."""

    def __init__(self, weight: NormalForm, kernel: Kernel, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.spec = weight.spec
        self.kernel = kernel
        self.in_features, self.out_features = weight.spec.in_features, weight.spec.out_features
        order = weight.input_order
        self.input_order: torch.Tensor | None
        self.register_buffer("input_order", order.to(device) if order is not None else None, persistent=False)
        for name, tensor in kernel.prepare(replace(weight, input_order=None), device, dtype).items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x @ weight + bias`: [..., in_features] -> [..., out_features], in x's dtype."""
        if self.input_order is not None:
            x = x.index_select(-1, self.input_order)
        return self.kernel.forward(x, self._buffers, self.spec)  # type: ignore[arg-type]

    def kernel_buffers(self) -> dict[str, torch.Tensor]:
        """Return what the kernel has made of the weight, by its names; the tensors live as long as the layer."""
        return {name: buffer for name, buffer in self.named_buffers() if name != "input_order"}

    def extra_repr(self) -> str:
        """Show the layer's spec and kernel where torch prints the model."""
        return f"{self.spec}, kernel={self.kernel.name}"
