"""Descriptions of matrices for the GPU's copy engine, encoded by the driver once for each buffer."""

import ctypes
import math
from collections import OrderedDict
from typing import NamedTuple

from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda import driver
from tgi_autoround.kernels.cuda.manifest import TensorMap

KEPT = 2**14
"""Layers whose weights a kernel reads and, for the experts of a mixture, many more than a dense model has.

A description takes about half a KB, and is made anew whenever its buffer, shape or strides are not among the latest.
"""
_BYTES = 128
_ALIGNMENT = 64
_NOT_INTERLEAVED, _PROMOTED_TO_128_BYTES, _ZEROS_OUTSIDE = 0, 2, 0


class Layout(NamedTuple):
    """How a tensor lies in memory, strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    element_bytes: int


Matrix = tuple[int, Layout]
"""The first element's address, and all else that the copy engine has to know: where both are equal, so are maps."""


class EncodedMaps:
    """The maps of one argument of a kernel: each matrix is encoded when it is first seen, the latest are kept."""

    def __init__(self, name: str, form: TensorMap) -> None:
        rank = len(form.block)
        self._name = name
        self._form = form
        self._box = (ctypes.c_uint32 * rank)(*reversed(form.block))
        self._every_element = (ctypes.c_uint32 * rank)(*[1] * rank)
        self._of: OrderedDict[Matrix, tuple[int, ctypes.Array[ctypes.c_char]]] = OrderedDict()

    def address(self, matrix: Matrix) -> int:
        """Return where the map of a matrix lies; it is whole until `KEPT` others have been described."""
        found = self._of.get(matrix)
        if found is None:
            found = self._of[matrix] = self._encode(*matrix)
            if len(self._of) > KEPT:
                self._of.popitem(last=False)
        return found[0]

    def _encode(self, start: int, layout: Layout) -> tuple[int, ctypes.Array[ctypes.c_char]]:
        rank = len(layout.shape)
        strides_bytes = [stride * layout.element_bytes for stride in layout.strides[:-1]]
        if layout.strides[-1] != 1 or any(address % 16 for address in (start, *strides_bytes)):
            raise KernelError(
                f"kernel {self._name}: the copy engine reads rows of adjacent elements that begin at multiples of 16 "
                f"bytes, not a tensor of shape {layout.shape} with strides {layout.strides}; make it contiguous"
            )
        room = ctypes.create_string_buffer(_BYTES + _ALIGNMENT)
        address = math.ceil(ctypes.addressof(room) / _ALIGNMENT) * _ALIGNMENT
        code = driver.library().cuTensorMapEncodeTiled(
            ctypes.c_void_p(address),
            self._form.element_type,
            rank,
            ctypes.c_void_p(start),
            (ctypes.c_uint64 * rank)(*reversed(layout.shape)),
            (ctypes.c_uint64 * max(1, rank - 1))(*reversed(strides_bytes)),
            self._box,
            self._every_element,
            _NOT_INTERLEAVED,
            self._form.swizzle,
            _PROMOTED_TO_128_BYTES,
            _ZEROS_OUTSIDE,
        )
        driver.check(code, f"kernel {self._name}: describing {layout.shape} to the copy engine")
        return address, room
