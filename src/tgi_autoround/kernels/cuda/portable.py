"""The project's own kernel for NVIDIA GPUs, compiled by whatever triton is installed, from 3.3 on."""

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.cuda import launch, layout, op

OLDEST_CAPABILITY = (8, 0)


class PortableKernel:
    """Weights stay packed in memory, at about their size in the file, and are dequantized in registers."""

    name = "cuda-triton"
    exact = True

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes every width and group size, in float16 and bfloat16, on GPUs from compute capability 8.0 on."""
        if dtype not in (torch.float16, torch.bfloat16):
            return f"it multiplies float16 and bfloat16, not {str(dtype).removeprefix('torch.')}"
        return _reason_against(spec, device, dtype)

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Codes in whole tiles, and the groups' scales and zero points."""
        return layout.packed_bytes(spec)

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The packed layout. A kind's first layer is run, so that nothing is loaded or compiled while serving."""
        if device.type != "cuda":
            return layout.pack(weight, device, dtype)
        buffers = layout.pack(weight, device, dtype, launch.pack_lanes)
        launch.warm_up(buffers, weight.spec, dtype)
        return buffers

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply 16-bit activations by integers, sum in float32, scale, and round once.

        Weights are scaled and rounded first where x has over `MAX_ROWS` rows, or where 32 is no part of a group.
        """
        return op.linear(x, buffers, spec)


def _reason_against(spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
    if find_spec("triton") is not None and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda":
        return f"it runs on NVIDIA GPUs, not on {device.type}"
    if torch.version.hip is not None:
        return "it was written for NVIDIA GPUs, and this is an AMD one"
    if not torch.cuda.is_available():
        return None  # this machine plans for another one's GPU
    if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return "it needs a GPU of compute capability 8.0 or later"
    if launch.is_shipped(spec, device, dtype):
        return None
    if find_spec("triton") is None:
        return "it is not among the compiled kernels that the package ships, and triton is not installed"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler, and neither gcc nor clang is installed"
    return None
