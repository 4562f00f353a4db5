"""What both of Gaudi's kernels do around the weight that each of them makes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.hpu.check import check_once


class HpuKernel(ABC):
    """A kernel that dequantizes the whole weight on the device in every call and multiplies by it."""

    name: str
    exact = True

    def __init__(self, device_type: str = "hpu") -> None:
        self._device_type = device_type

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes layers of every shape and group size."""
        if device.type != self._device_type:
            return f"it runs on {self._device_type}, not on {device.type}"
        return self.reason_against(spec, dtype)

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The tensors of `pack`, and bias: dtype [N], where there is one; all on the device.

        Raises UnsupportedError where the device computes another weight.
        """
        buffers = self.pack(weight, dtype)
        if weight.bias is not None:
            buffers["bias"] = weight.bias.to(dtype)
        on_device = {name: tensor.to(device) for name, tensor in buffers.items()}
        check_once(self.name, self.weight, on_device, weight)
        return on_device

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in the dtype of the scales and return x's dtype."""
        weight = self.weight(buffers, spec)
        y = x.to(weight.dtype) @ weight
        if "bias" in buffers:
            y = y + buffers["bias"]
        return y.to(x.dtype)

    @abstractmethod
    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Bytes of a layer's tensors on the device."""

    @abstractmethod
    def reason_against(self, spec: LayerSpec, dtype: torch.dtype) -> str | None:
        """Return why the kernel does not take a layer on its device, None where it does."""

    @abstractmethod
    def pack(self, weight: NormalForm, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Return the tensors that `weight` reads."""

    @abstractmethod
    def weight(self, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Return the dequantized weight: [in_features, out_features] in the dtype of the scales."""
