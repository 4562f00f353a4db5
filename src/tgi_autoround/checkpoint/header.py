"""The header of a safetensors file, read and checked in full before anything maps the file or trusts a number of it.

A file is the header's length (8 bytes, little-endian), the header (JSON: name -> dtype, shape, data_offsets), then the
tensors' bytes, without gap or overlap to the end of the file.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgi_autoround.checkpoint.json_files import parse_object, show
from tgi_autoround.errors import CheckpointError, UnsupportedError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
MAX_NAME_CHARACTERS = 512
MAX_DIMENSIONS = 8
MAX_TENSOR_BYTES = 2**62
METADATA = "__metadata__"
BYTES_OF_DTYPE = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that is still on disk: its file, and the dtype (safetensors' name) and shape that it has there."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name, in the header's order.

    Raises CheckpointError where the header is broken or does not describe exactly the file's bytes, UnsupportedError
    for a dtype that no tensor of a served checkpoint has.
    """
    header, data_bytes = _read(path)
    _check_metadata(path, header.pop(METADATA, {}))
    tensors, ranges = {}, []
    for name, fields in header.items():
        where = f"{path}: tensor {show(name)}"
        _check_name(name, where)
        if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
            raise CheckpointError(f"{where} is {show(fields)}; it must have dtype, shape and data_offsets")
        tensors[name] = StoredTensor(path, _dtype(fields["dtype"], where), _shape(fields["shape"], where))
        ranges.append((*_range(fields["data_offsets"], tensors[name], where), name))
    _check_ranges(path, ranges, data_bytes)
    return tensors


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header and the number of bytes behind it."""
    try:
        with path.open("rb") as file:
            file_bytes = path.stat().st_size
            header_bytes = int.from_bytes(file.read(LENGTH_BYTES), "little")
            data_bytes = file_bytes - LENGTH_BYTES - header_bytes
            if data_bytes < 0 or header_bytes > MAX_HEADER_BYTES:
                raise CheckpointError(
                    f"{path}: a header of {header_bytes} bytes does not fit a safetensors file of {file_bytes} bytes "
                    f"(at most {MAX_HEADER_BYTES}); the file is truncated or of another format, download it again"
                )
            content = file.read(header_bytes)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return parse_object(content, f"{path}: the header"), data_bytes


def _check_metadata(path: Path, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CheckpointError(f"{path}: {METADATA} is {show(metadata)}; it must map strings to strings")


def _check_name(name: str, where: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise CheckpointError(f"{where}: a name is 1 to {MAX_NAME_CHARACTERS} printable characters")


def _dtype(dtype: Any, where: str) -> str:
    if not isinstance(dtype, str) or dtype not in BYTES_OF_DTYPE:
        raise UnsupportedError(f"{where} has dtype {show(dtype)}; these are read: {', '.join(BYTES_OF_DTYPE)}")
    return dtype


def _shape(shape: Any, where: str) -> tuple[int, ...]:
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(
            f"{where} has shape {show(shape)}; it must be a list of at most {MAX_DIMENSIONS} integers, none negative"
        )
    return tuple(shape)


def _range(offsets: Any, tensor: StoredTensor, where: str) -> tuple[int, int]:
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{where} has data_offsets {show(offsets)}; they must be two integers, none negative")
    begin, end = offsets
    itemsize = BYTES_OF_DTYPE[tensor.dtype]
    # Strides are products of the dimensions that are not empty, so an empty tensor can overflow too.
    if math.prod(max(size, 1) for size in tensor.shape) * itemsize > MAX_TENSOR_BYTES:
        raise CheckpointError(f"{where} has shape {show(tensor.shape)}, which is more than any file can hold")
    if end - begin != math.prod(tensor.shape) * itemsize:
        raise CheckpointError(
            f"{where} of dtype {tensor.dtype} and shape {show(tensor.shape)} takes {math.prod(tensor.shape) * itemsize}"
            f" bytes, but its data_offsets {show(offsets)} span {end - begin}; the file is broken, download it again"
        )
    return begin, end


def _check_ranges(path: Path, ranges: list[tuple[int, int, str]], data_bytes: int) -> None:
    position = 0
    for begin, end, name in sorted(ranges):
        if begin != position:
            raise CheckpointError(
                f"{path}: tensor {show(name)} begins at byte {begin} of the data, but the tensor before it ends at "
                f"{position}; tensors may neither overlap nor leave gaps, write the file again"
            )
        position = end
    if position != data_bytes:
        raise CheckpointError(
            f"{path}: the tensors end at byte {position} of the data, but the file holds {data_bytes}; "
            "it is truncated or has foreign data appended, download it again"
        )


def _are_sizes(values: Any) -> bool:
    """Whether `values` is a list of non-negative integers (bool, which Python counts among them, is none)."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
