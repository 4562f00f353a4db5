"""The memory in which the driver finds the parameters of a launch."""

import ctypes
import struct
from collections.abc import Iterator, Sequence

from tgi_autoround.kernels.cuda.manifest import Argument, Cubin
from tgi_autoround.kernels.cuda.tensor_map import EncodedMaps, Matrix

_FORMAT_OF_TYPE = {"i1": "b", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "fp32": "f"}
_ADDRESS, _MAP = "Q", ""
_SCRATCH = (0, 0)
"""Every kernel of triton's ends with two addresses of scratch memory, which none that is shipped uses."""


class Parameters:
    """Written anew for each launch. `address` is of an array that has the address of each parameter."""

    def __init__(self, cubin: Cubin) -> None:
        formats = [each for argument in cubin.arguments for each in _formats(argument)] + [_ADDRESS] * len(_SCRATCH)
        self._format = struct.Struct("@" + "".join(formats))
        self._room = ctypes.create_string_buffer(self._format.size)
        start = ctypes.addressof(self._room)
        self._addresses = (ctypes.c_void_p * len(formats))(*(start + offset for offset in _offsets(formats)))
        self.address = ctypes.addressof(self._addresses)
        forms = [argument.tensor_map for argument in cubin.arguments if argument.tensor_map is not None]
        places = [place for place, each in enumerate(formats) if each == _MAP]
        self._maps = [(place, EncodedMaps(cubin.name, form)) for place, form in zip(places, forms, strict=True)]

    def fill(self, values: Sequence[int | float], matrices: Sequence[Matrix]) -> None:
        """Write what a launch passes; raises struct.error where a value does not fit its type."""
        for (place, encoded), matrix in zip(self._maps, matrices, strict=True):
            self._addresses[place] = encoded.address(matrix)
        self._format.pack_into(self._room, 0, *values, *_SCRATCH)


def _formats(argument: Argument) -> list[str]:
    """Return the layout of an argument's parameters in memory, as `struct` spells it; maps lie elsewhere."""
    if argument.tensor_map is not None:
        rank = len(argument.tensor_map.block)
        return [_MAP, *"i" * rank, *"q" * rank]
    return [_ADDRESS if argument.type.startswith("*") else _FORMAT_OF_TYPE[argument.type]]


def _offsets(formats: Sequence[str]) -> Iterator[int]:
    """Yield where `struct` puts each value, natively aligned."""
    for index, last in enumerate(formats):
        yield struct.calcsize("@" + "".join(formats[: index + 1])) - struct.calcsize("@" + last)
