"""Kernels on NVIDIA GPUs: one packed layout, and what multiplies by it."""

from tgi_autoround.kernels.cuda.hopper.kernel import HopperKernel
from tgi_autoround.kernels.cuda.portable import PortableKernel

__all__ = ["HopperKernel", "PortableKernel"]
