"""The project's own kernels for Hopper GPUs, as compiled ahead of time."""

from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.cuda import launch, layout, op
from tgi_autoround.kernels.cuda.hopper import configuration, launches
from tgi_autoround.kernels.cuda.workspace import workspace

CAPABILITY = (9, 0)


class HopperKernel:
    """Weights stay packed in memory and are dequantized in registers; what runs for how many rows is in a table."""

    name = "cuda-hopper"
    exact = True

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes 2, 3, 4 and 8 bits in groups of powers of two, in float16 and bfloat16, on compute capability 9.0."""
        if dtype not in (torch.float16, torch.bfloat16):
            return f"it multiplies float16 and bfloat16, not {str(dtype).removeprefix('torch.')}"
        if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
            return "it runs on NVIDIA's Hopper GPUs, and there is none"
        if torch.cuda.get_device_capability(device) != CAPABILITY:
            return "it needs a GPU of compute capability 9.0"
        reason = configuration.reason_against(spec)
        if reason is None and not launches.is_shipped(spec, dtype, CAPABILITY):
            return "the package was built without its machine code"
        return reason

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Codes in whole tiles, and the groups' scales and zero points."""
        return layout.packed_bytes(spec)

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The packed layout. Machine code is loaded before serving, each kernel's once."""
        buffers = layout.pack(weight, device, dtype, launch.pack_lanes)
        workspace(buffers["lanes"].device)
        for choice in configuration.all_of(weight.spec):
            if choice is None:
                launch.warm_up(buffers, weight.spec, dtype)
            else:
                launches.load(choice, weight.spec.scheme.bits, dtype, buffers["lanes"].device)
        return buffers

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in float32 sums; up to 16 rows integers that are scaled after, above weights rounded to x's type."""
        return op.linear(x, buffers, spec, on_hopper=True)
