"""The kernels for layers of a TGI server, in order of preference."""

from tgi_autoround.kernels import Kernel
from tgi_autoround.kernels.dequantized import DequantizedKernel

CUDA_KERNELS: tuple[Kernel, ...] = (DequantizedKernel(),)
