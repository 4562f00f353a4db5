"""The few lines of PTX, of sm_80 and later, that turn lanes into the tensor cores' operands."""

import functools

import torch


@functools.cache
def instructions(bits: int, dtype: torch.dtype) -> tuple[str | None, float]:
    """Return PTX that takes two lanes' lowest codes less their zero points, and its offset.

    Operand 2 holds two lanes; operand 3, for each, minus the zero point and the offset: a number whose last mantissa
    bits are worth 1, so that `or` adds codes to it. None where codes have more bits than that mantissa.
    """
    if dtype is torch.float16:
        suffix, one, offset_bits, offset, mantissa_bits = "f16x2", 0x3C003C00, 0x64006400, 1024.0, 10
    else:
        suffix, one, offset_bits, offset, mantissa_bits = "bf16x2", 0x3F803F80, 0x43004300, 128.0, 7
    if bits > mantissa_bits:
        return None, 0.0
    mask = ((1 << bits) - 1) * 0x10001
    text = f"""{{ .reg .b32 codes, one;
        mov.b32 one, {one:#x};
        lop3.b32 codes, $2, {mask:#x}, {offset_bits:#x}, 0xea;
        fma.rn.{suffix} $0, codes, one, $3;
        shr.u32 $1, $2, {bits}; }}"""
    return text, offset
