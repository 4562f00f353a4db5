"""Launches kernels that were compiled ahead of time, through the driver: no triton, no compiler, a few us a launch."""

import ctypes
import functools
import struct
import threading
from collections.abc import Sequence

import torch

from tgi_autoround.kernels.cuda import driver, manifest
from tgi_autoround.kernels.cuda.manifest import Cubin
from tgi_autoround.kernels.cuda.parameters import Parameters
from tgi_autoround.kernels.cuda.specialization import ARCHITECTURE_OF_CAPABILITY
from tgi_autoround.kernels.cuda.tensor_map import Matrix

_THREADS_OF_WARP = 32
_CONFIGURATION = struct.Struct("@7IQQI4x")
"""CUlaunchConfig: grid and block, three each, shared memory, stream, address and number of attributes."""
_ATTRIBUTE = struct.Struct("@I4xi60x")
"""CUlaunchAttribute: its kind, and its value in 64 bytes."""
_PROGRAMMATIC_STREAM_SERIALIZATION = 6

Grid = tuple[int, int, int]


class Function:
    """A kernel in the memory of one device. Launches may come from any thread and may be captured in a CUDA graph."""

    def __init__(self, cubin: Cubin, device: int) -> None:
        self._name = cubin.name
        self._device = device
        self._handle = ctypes.c_void_p(_load(cubin, device))
        self._block = (_THREADS_OF_WARP * cubin.warps, 1, 1, cubin.shared_bytes)
        self._parameters = Parameters(cubin)
        self._parameters_address = ctypes.c_void_p(self._parameters.address)
        self._configuration = ctypes.create_string_buffer(_CONFIGURATION.size)
        self._attribute = ctypes.create_string_buffer(_ATTRIBUTE.pack(_PROGRAMMATIC_STREAM_SERIALIZATION, 1))
        self._attribute_address = ctypes.addressof(self._attribute)
        self._in_use = threading.Lock()

    def queue(self, grid: Grid, values: Sequence[int], matrices: Sequence[Matrix] = ()) -> None:
        """Launch on the device's current stream, whichever device is torch's current one."""
        device = self._device
        if current_device() == device:
            self.launch(grid, values, current_stream(device), matrices)
        else:
            with torch.cuda.device(device):
                self.launch(grid, values, current_stream(device), matrices)

    def launch(
        self,
        grid: Grid,
        values: Sequence[int | float],
        stream: int,
        matrices: Sequence[Matrix] = (),
        *,
        overlap: bool = False,
    ) -> None:
        """Queue a run on a stream of the device, which has to be torch's current one.

        values: addresses and numbers in the order of the manifest's arguments; a matrix has its shape and strides here
        matrices: what the copy engine reads, in the same order
        overlap: the run may start before the kernel ahead of it has ended; both have to be written for that

        Raises KernelError where the driver refuses.
        """
        with self._in_use:
            self._parameters.fill(values, matrices)
            _CONFIGURATION.pack_into(
                self._configuration, 0, *grid, *self._block, stream, self._attribute_address, overlap
            )
            code = self._start()
            if code == driver.INVALID_CONTEXT:  # this thread's first use of the GPU
                driver.use_context_of(self._device)
                code = self._start()
        if code:
            driver.check(code, f"launching the kernel {self._name} on a grid of {grid}")

    def _start(self) -> int:
        code: int = driver.library().cuLaunchKernelEx(self._configuration, self._handle, self._parameters_address, None)
        return code


def current_device() -> int:
    """Return torch's current device, where torch uses one already; without what `torch.cuda.current_device` checks."""
    device: int = torch._C._cuda_getDevice()
    return device


def current_stream(device: int) -> int:
    """Return torch's current stream of a device, for launches; at a tenth of what `torch.cuda.current_stream` takes."""
    stream: int = torch._C._cuda_getCurrentRawStream(device)
    return stream


@functools.cache
def find(name: str, device: int) -> Function | None:
    """Return a kernel by its specialization's name, loaded once, or None where none is shipped for this device."""
    cubin = find_cubin(name, torch.cuda.get_device_capability(device))
    return Function(cubin, device) if cubin is not None else None


def find_cubin(name: str, capability: tuple[int, int]) -> Cubin | None:
    """Return what is shipped for a device of this compute capability and for the driver of this machine."""
    cubin = manifest.shipped().get((ARCHITECTURE_OF_CAPABILITY.get(capability, ""), name))
    return cubin if cubin is not None and driver.version() >= cubin.minimum_driver else None


def _load(cubin: Cubin, device: int) -> int:
    driver.use_context_of(device)
    return driver.load_function(cubin.image(), cubin.symbol, cubin.shared_bytes, cubin.name)
