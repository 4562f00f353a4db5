"""Gaudi's 4-bit op on the CPU, for machines without a Gaudi: it proves arithmetic, not speed.

Written from the op's public C++ and tests, gaudi-pytorch-bridge 1.19 (hpu_ops/backend/int4_ops.cpp,
tests/pytest_working/any_mode/test_hpu_convert_from_int4.py); the checks of shapes are those of later versions. How the
card rounds between subtraction and product is not public: here the product is rounded once, to the output's dtype.
"""

import torch

_SCHEMA = "(Tensor input, Tensor scale, Tensor? zero_point, ScalarType out_dtype) -> Tensor"
_CODES_PER_WORD = 8
_OUTPUT_DTYPES = (torch.bfloat16, torch.float32)


def register() -> None:
    """Define `torch.ops.hpu.convert_from_uint4`. Raises RuntimeError where Gaudi's own software has defined it."""
    op = torch.library.custom_op(
        "hpu::convert_from_uint4", _convert_from_uint4, mutates_args=(), device_types="cpu", schema=_SCHEMA
    )
    op.register_fake(_convert_from_uint4_shape)


def _convert_from_uint4(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    _check(input, scale, zero_point, out_dtype)
    steps = _nibbles(input)
    if zero_point is not None:
        is_packed = zero_point.shape[-1] == input.shape[-1]
        steps = steps - _to_shape(_nibbles(zero_point) if is_packed else zero_point, steps.shape)
    return steps.to(out_dtype) * _to_shape(scale, steps.shape).to(out_dtype)


def _convert_from_uint4_shape(
    input: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    _check(input, scale, zero_point, out_dtype)
    return input.new_empty(_unpacked_shape(input), dtype=out_dtype)


def _nibbles(words: torch.Tensor) -> torch.Tensor:
    shifts = torch.arange(0, 4 * _CODES_PER_WORD, 4, dtype=torch.int32)
    return ((words.unsqueeze(-1) >> shifts) & 0xF).flatten(-2)


def _to_shape(values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Repeat values along the one dimension that is shorter."""
    for dimension, (have, wanted) in enumerate(zip(values.shape, shape, strict=True)):
        if have != wanted:
            return values.repeat_interleave(wanted // have, dim=dimension)
    return values


def _check(words: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None, out_dtype: torch.dtype) -> None:
    shape = _unpacked_shape(words)
    _require(words.dtype == torch.int32, f"input is {words.dtype}, not int32")
    _require(out_dtype in _OUTPUT_DTYPES, f"out_dtype is {out_dtype}; bfloat16 and float32 are tested on cards")
    _require(scale.dtype == out_dtype, f"scale is {scale.dtype}; cards are tested with out_dtype, {out_dtype}")
    _require(_repeats_to(list(scale.shape), shape), f"scale {list(scale.shape)} does not repeat to {shape}")
    if zero_point is not None:
        is_packed = zero_point.shape[-1] == words.shape[-1]
        zero_shape = _unpacked_shape(zero_point) if is_packed else list(zero_point.shape)
        wanted_dtype = words.dtype if is_packed else scale.dtype
        _require(zero_point.dtype == wanted_dtype, f"zero_point is {zero_point.dtype}, not {wanted_dtype}")
        _require(_repeats_to(zero_shape, shape), f"zero_point {zero_shape} does not repeat to {shape}")


def _unpacked_shape(words: torch.Tensor) -> list[int]:
    return [*words.shape[:-1], words.shape[-1] * _CODES_PER_WORD]


def _repeats_to(shape: list[int], wanted: list[int]) -> bool:
    """Equal, or equal but for one dimension that divides the wanted one."""
    if len(shape) != len(wanted):
        return False
    different = [(have, want) for have, want in zip(shape, wanted, strict=True) if have != want]
    return len(different) <= 1 and all(want % have == 0 for have, want in different)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise RuntimeError(f"convert_from_uint4: {problem}")
