"""The kernels for layers of a TGI server, in order of preference."""

from tgi_autoround.kernels import Kernel
from tgi_autoround.kernels.cuda import HopperKernel, PortableKernel
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.tgi.marlin import MarlinKernel

KERNELS: tuple[Kernel, ...] = (
    HopperKernel(),
    MarlinKernel(),
    PortableKernel(),
    HpuUint4Kernel(),
    HpuInt8Kernel(),
    DequantizedKernel(),
)
