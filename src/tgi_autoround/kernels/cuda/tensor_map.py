"""Descriptions of tensors for the GPU's copy engine, encoded by the driver once for each buffer."""

import ctypes
import math
from collections import OrderedDict

import torch

from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda import driver
from tgi_autoround.kernels.cuda.manifest import TensorMap

_BYTES = 128
_ALIGNMENT = 64
_KEPT = 256
_NOT_INTERLEAVED, _PROMOTED_TO_128_BYTES, _ZEROS_OUTSIDE = 0, 2, 0

_Key = tuple[int, tuple[int, ...], tuple[int, ...]]


class EncodedMaps:
    """The maps of one argument of a kernel: each buffer is encoded when it is first seen, the latest 256 are kept."""

    def __init__(self, name: str, form: TensorMap) -> None:
        self._name = name
        self._form = form
        self._of: OrderedDict[_Key, tuple[int, ctypes.Array[ctypes.c_char]]] = OrderedDict()

    def address(self, tensor: torch.Tensor) -> int:
        """Return where the map of a tensor lies; it is whole until 256 other buffers have been described."""
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        found = self._of.get(key)
        if found is None:
            found = self._of[key] = self._encode(tensor)
            if len(self._of) > _KEPT:
                self._of.popitem(last=False)
        return found[0]

    def _encode(self, tensor: torch.Tensor) -> tuple[int, ctypes.Array[ctypes.c_char]]:
        rank, itemsize = tensor.dim(), tensor.element_size()
        strides_bytes = [stride * itemsize for stride in tensor.stride()[:-1]]
        if tensor.stride(-1) != 1 or any(address % 16 for address in (tensor.data_ptr(), *strides_bytes)):
            raise KernelError(
                f"kernel {self._name}: the copy engine reads rows of adjacent elements that begin at multiples of 16 "
                f"bytes, not a tensor of shape {tuple(tensor.shape)} with strides {tensor.stride()}; make it contiguous"
            )
        room = ctypes.create_string_buffer(_BYTES + _ALIGNMENT)
        address = math.ceil(ctypes.addressof(room) / _ALIGNMENT) * _ALIGNMENT
        code = driver.library().cuTensorMapEncodeTiled(
            ctypes.c_void_p(address),
            self._form.element_type,
            rank,
            ctypes.c_void_p(tensor.data_ptr()),
            (ctypes.c_uint64 * rank)(*reversed(tensor.shape)),
            (ctypes.c_uint64 * max(1, rank - 1))(*reversed(strides_bytes)),
            (ctypes.c_uint32 * rank)(*reversed(self._form.block)),
            (ctypes.c_uint32 * rank)(*[1] * rank),
            _NOT_INTERLEAVED,
            self._form.swizzle,
            _PROMOTED_TO_128_BYTES,
            _ZEROS_OUTSIDE,
        )
        driver.check(code, f"kernel {self._name}: describing {tuple(tensor.shape)} to the copy engine")
        return address, room
