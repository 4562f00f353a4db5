"""The kernels for layers of a TGI server, in order of preference."""

from tgi_autoround.kernels import Kernel
from tgi_autoround.kernels.cuda import PortableKernel
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.tgi.marlin import MarlinKernel

CUDA_KERNELS: tuple[Kernel, ...] = (MarlinKernel(), PortableKernel(), DequantizedKernel())
