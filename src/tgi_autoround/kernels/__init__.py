"""The kernels in order of preference, and the choice of one for a layer."""

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels.cpu import ArkKernel
from tgi_autoround.kernels.cuda import HopperKernel, PortableKernel
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.kernels.protocol import Kernel
from tgi_autoround.kernels.reference import ReferenceKernel

__all__ = ["KERNELS", "Kernel", "ReferenceKernel", "select"]

KERNELS: tuple[Kernel, ...] = (
    ArkKernel("int8"),
    ArkKernel("fp32"),
    HpuUint4Kernel(),
    HpuInt8Kernel(),
    HopperKernel(),
    PortableKernel(),
    DequantizedKernel(),
)


def select(
    spec: LayerSpec,
    device: torch.device,
    dtype: torch.dtype,
    *,
    exact: bool = False,
    kernels: tuple[Kernel, ...] = KERNELS,
) -> Kernel:
    """Return the first kernel that takes the layer; with `exact`, only such as round no activations.

    Raises UnsupportedError that gives every kernel's reason where none does.
    """
    reasons = []
    for kernel in kernels:
        reason = "it rounds activations, and fp32 compute was asked for" if exact and not kernel.exact else None
        reason = reason or kernel.supports(spec, device, dtype)
        if reason is None:
            return kernel
        reasons.append(f"{kernel.name}: {reason}")
    raise UnsupportedError(f"layer {spec.name}: {spec}: no kernel on {device.type} takes it; {'; '.join(reasons)}")
