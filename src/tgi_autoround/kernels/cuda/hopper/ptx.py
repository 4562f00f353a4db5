"""PTX that multiplies packed codes on tensor cores, as text; what each thread holds is in `layout.py` and PTX's manual.

A register holds two lanes, so `16 // bits` slices of two codes. A mask and an `or` make two 16-bit floating-point
numbers of a slice, `offset + code`: the codes are the last bits of a mantissa whose last bit is worth 1.
"""

import itertools
import struct
from dataclasses import dataclass

_LANES = 0x10001
_STEP = 16
"""Input features that one instruction multiplies; a slice has two such steps."""


@dataclass(frozen=True)
class Numbers:
    """How codes become numbers of a 16-bit type.

    planes: into how many numbers a code is split, the lowest `plane_bits` of it first, as bfloat16 holds no 8 bits
    """

    instruction_type: str
    magic: int
    one: int
    offset: int
    plane_bits: int
    planes: int

    @property
    def whole_offset(self) -> float:
        """What all planes of a number have more than its code."""
        return float(self.offset * (1 + (1 << self.plane_bits) if self.planes == 2 else 1))


def numbers_of(bits: int, dtype: str) -> Numbers:
    """Return how codes of `bits` bits become numbers of `dtype`, "bf16" or "fp16"."""
    if dtype == "fp16":
        return Numbers("f16", 0x64006400, 0x3C003C00, 1024, bits, 1)
    if bits <= 7:
        return Numbers("bf16", 0x43004300, 0x3F803F80, 128, bits, 1)
    return Numbers("bf16", 0x43004300, 0x3F803F80, 128, 4, 2)


def bytes_of_tile(bits: int, blocks: int, rows: int) -> int:
    """Return what a warp holds of a tile in shared memory: 16 * blocks output features' words, then activations."""
    return blocks * _BLOCK_BYTES + rows * _pitch(bits)


_BLOCK_BYTES = 1024
"""16 output features of a tile: 32 lanes of two bytes each."""


def _pitch(bits: int) -> int:
    """Bytes from one row of a tile's activations to the next: 16 more than they take, so that no two share banks."""
    return 16 // bits * 64 + 16


def _place_in_shared_memory(address: str, bytes_of_warp: int) -> list[str]:
    return [
        "mov.u32 thread, %tid.x;",
        "and.b32 lane, thread, 31;",
        "shr.u32 warp, thread, 5;",
        f"mad.lo.u32 place, warp, {bytes_of_warp}, {address};",
    ]


def fetch(bits: int, blocks: int, rows: int, unroll: int) -> str:
    """Copies of a block's words, and with the first block's of a tile's activations, as one group.

    In: shared memory, bytes to a tile's place in it, the first warp's tile, tiles, the first output feature, output
    features, rows, bytes of a row of x, bytes of a row that count; addresses of x and of
    lanes. Texts are apart by a form feed.
    """
    return "\f".join(_fetch(bits, block, blocks, rows, unroll) for block in range(blocks))


def _fetch(bits: int, block: int, blocks: int, rows: int, unroll: int) -> str:
    (shared, offset, first_tile, tiles, column, columns, rows_of_x, stride, row_bytes, x, lanes), *_ = _numbered(11)
    lines = _place_in_shared_memory(shared, unroll * bytes_of_tile(bits, blocks, rows))
    lines += [
        f"add.u32 place, place, {offset};",
        f"add.u32 tile, {first_tile}, warp;",
        f"setp.lt.s32 in_tiles, tile, {tiles};",
        f"mad.lo.u32 row, tile, {columns}, {column};",
        f"mad.wide.u32 source, row, 64, {lanes};",
        "mad.wide.u32 source, lane, 16, source;",
        "mad.lo.u32 to, lane, 16, place;",
        "shr.u32 row, lane, 2;",
        f"add.u32 row, row, {column};",
        f"sub.s32 row, {columns}, row;",
    ]
    for half in range(2):
        at = 16 * block + 8 * half
        lines += [f"setp.gt.and.s32 wanted, row, {at}, in_tiles;", "selp.b32 size, 16, 0, wanted;"]
        lines.append(_copy(f"to + {64 * at}", f"source + {64 * at}", ".L2::256B"))
    if block == 0:
        lines += _fetch_activations(bits, blocks, rows, rows_of_x, stride, row_bytes, x)
    lines.append("cp.async.commit_group;")
    numbers = ["thread", "lane", "warp", "place", "tile", "row", "to", "size", "chunk", "byte"]
    return _block({"b32": numbers, "b64": ["source"], "pred": ["in_tiles", "wanted", "inside"]}, lines)


def _fetch_activations(
    bits: int, blocks: int, rows: int, rows_of_x: str, stride: str, row_bytes: str, x: str
) -> list[str]:
    in_row = 16 // bits * 4
    lines = []
    for first in range(0, rows * in_row, 32):
        lines += [
            f"add.u32 chunk, lane, {first};",
            f"div.u32 row, chunk, {in_row};",
            f"rem.u32 chunk, chunk, {in_row};",
            f"mad.lo.u32 to, row, {_pitch(bits)}, place;",
            "mad.lo.u32 to, chunk, 16, to;",
            f"mad.lo.u32 byte, tile, {16 * in_row}, 0;",
            "mad.lo.u32 byte, chunk, 16, byte;",
            f"setp.lt.and.s32 inside, byte, {row_bytes}, in_tiles;",
            f"setp.lt.and.s32 wanted, row, {rows_of_x}, inside;",
            "selp.b32 size, 16, 0, wanted;",
            f"mad.lo.u32 byte, row, {stride}, byte;",
            f"mad.wide.u32 source, byte, 1, {x};",
            _copy(f"to + {blocks * _BLOCK_BYTES}", "source", ""),
        ]
    return lines


def _copy(to: str, source: str, hint: str) -> str:
    return f"cp.async.cg.shared.global{hint} [{to}], [{source}], 16, size;"


def read_words(bits: int, blocks: int, rows: int, unroll: int) -> str:
    """Wait for the oldest group, and read a block's words: out, 8. In: shared memory, bytes to the block's words."""
    words, (shared, offset) = _numbered(8, 2)
    lines = [f"cp.async.wait_group {unroll * blocks - 1};", "bar.warp.sync 0xffffffff;"]
    lines += _place_in_shared_memory(shared, unroll * bytes_of_tile(bits, blocks, rows))
    lines += [f"add.u32 place, place, {offset};", "mad.lo.u32 place, lane, 16, place;"]
    lines += [
        f"ld.shared.v4.b32 {{{', '.join(words[4 * half : 4 * half + 4])}}}, [place + {512 * half}];" for half in (0, 1)
    ]
    return _block({"b32": ["thread", "lane", "warp", "place"]}, lines)


def read_activations(bits: int, blocks: int, rows: int, unroll: int) -> str:
    """Read a tile's activations as the right operand. In: shared memory, bytes to the tile's place."""
    in_row = 16 // bits * 4
    x, (shared, offset) = _numbered(rows // 8 * in_row, 2)
    lines = _place_in_shared_memory(shared, unroll * bytes_of_tile(bits, blocks, rows))
    lines += [
        f"add.u32 place, place, {offset};",
        "and.b32 warp, lane, 7;",
        f"mad.lo.u32 place, warp, {_pitch(bits)}, place;",
        "shr.u32 warp, lane, 3;",
        "mad.lo.u32 place, warp, 16, place;",
    ]
    for half, first in itertools.product(range(rows // 8), range(0, in_row, 4)):
        at = half * in_row + first
        from_bytes = blocks * _BLOCK_BYTES + half * 8 * _pitch(bits) + first * 16
        lines.append(
            f"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{{', '.join(x[at : at + 4])}}}, [place + {from_bytes}];"
        )
    return _block({"b32": ["thread", "lane", "warp", "place"]}, lines)


def sums_of_activations(bits: int, run: int, dtype: str, rows: int) -> str:
    """Sums of each run of a tile's activations: out, for each run, 2 for every 8 rows; in, a tile's activations."""
    numbers, halves, runs = numbers_of(bits, dtype), rows // 8, 16 // bits * 32 // run
    operands = _numbered(*[2 * halves] * runs, 16 // bits * 4 * halves)
    x = operands[-1]
    lines = [f"mov.b32 one, {numbers.one:#x};"]
    for of_run, half in itertools.product(range(runs), range(halves)):
        total = [*operands[of_run][2 * half : 2 * half + 2], "unused0", "unused1"]
        lines += [f"mov.f32 {name}, {_float(0)};" for name in total]
        for step in _steps(of_run, run):
            lines.append(_multiply(numbers, total, ["one"] * 4, _activations(x, step, half, bits)))
    return _block({"b32": ["one"], "f32": ["unused0", "unused1"]}, lines)


def products(bits: int, run: int, dtype: str, rows: int) -> str:
    """total + scale * (codes - zero point) @ activations, of 16 output features, each run with its own scale.

    out: total, 4 for every 8 rows. In: 8 words of codes, a tile's activations, total, and for each run 2 words of scale
    and minus the zero point in float16, then for each run the sums of its activations.
    """
    numbers, halves, runs = numbers_of(bits, dtype), rows // 8, 16 // bits * 32 // run
    result, words, x, total, *of_runs = _numbered(
        4 * halves, 8, 16 // bits * 4 * halves, 4 * halves, *[2] * runs, *[2 * halves] * runs
    )
    # Odd steps have sums of their own, as one product waits for the one before it.
    sums = {
        (plane, odd): [f"sum{plane}{odd}_{index}" for index in result]
        for plane in range(numbers.planes)
        for odd in (0, 1)
    }
    sums = {key: [name.replace("$", "") for name in names] for key, names in sums.items()}
    lines = [f"mov.b32 magic, {numbers.magic:#x};"]
    lines += [f"mov.f32 {to}, {start};" for to, start in zip(result, total, strict=True)]
    for of_run in range(runs):
        lines += [f"mov.f32 {name}, {_float(0)};" for names in sums.values() for name in names]
        for step, plane in itertools.product(_steps(of_run, run), range(numbers.planes)):
            lines += _extract(numbers, words, step, bits, plane)
            for half in range(halves):
                part = sums[plane, step % 2][4 * half : 4 * half + 4]
                lines.append(_multiply(numbers, part, _LEFT, _activations(x, step, half, bits)))
        lines += _end_run(numbers, result, sums, of_runs[of_run], of_runs[runs + of_run])
    floats = ["scale0", "scale1", "zero0", "zero1", *itertools.chain(*sums.values())]
    return _block({"b32": ["magic", "shifted", *_LEFT], "f32": floats, "b16": ["low", "high"]}, lines)


_LEFT = ["left0", "left1", "left2", "left3"]
_HIGH = ["high0", "high1", "high2", "high3"]


def _end_run(
    numbers: Numbers, result: list[str], sums: dict[tuple[int, int], list[str]], affine: list[str], of_x: list[str]
) -> list[str]:
    """Add a run's sums to the result, less what zero points and offsets have added to them, and scaled."""
    lines = []
    for row, word in enumerate(affine):
        lines += [f"mov.b32 {{low, high}}, {word};", f"cvt.f32.f16 scale{row}, low;", f"cvt.f32.f16 zero{row}, high;"]
        lines.append(f"sub.f32 zero{row}, zero{row}, {_float(numbers.whole_offset)};")
    for index, to in enumerate(result):
        half, row, column = index // 4, index % 4 // 2, index % 2
        whole = sums[0, 0][index]
        lines += [
            f"add.f32 {even[index]}, {even[index]}, {odd[index]};"
            for even, odd in zip(
                (sums[plane, 0] for plane in range(numbers.planes)),
                (sums[plane, 1] for plane in range(numbers.planes)),
                strict=True,
            )
        ]
        if numbers.planes == 2:
            lines.append(f"fma.rn.f32 {whole}, {sums[1, 0][index]}, {_float(16)}, {whole};")
        lines.append(f"fma.rn.f32 {whole}, zero{row}, {of_x[2 * half + column]}, {whole};")
        lines.append(f"fma.rn.f32 {to}, {whole}, scale{row}, {to};")
    return lines


def _extract(
    numbers: Numbers, words: list[str], step: int, bits: int, plane: int, left: list[str] = _LEFT
) -> list[str]:
    """The left operand of a step: rows g and g + 8, and both again 8 input features on."""
    mask, shift, lines = ((1 << numbers.plane_bits) - 1) * _LANES, step // 2 * bits + plane * numbers.plane_bits, []
    first = step % 2 * 2
    for to, word in zip(left, (words[first + index] for index in (0, 4, 1, 5)), strict=True):
        if shift:
            lines.append(f"shr.u32 shifted, {word}, {shift};")
        lines.append(f"lop3.b32 {to}, {'shifted' if shift else word}, {mask:#x}, magic, 0xea;")
    return lines


def _steps(of_run: int, run: int) -> range:
    return range(of_run * run // _STEP, (of_run + 1) * run // _STEP)


def _activations(x: list[str], step: int, half: int, bits: int) -> list[str]:
    at = half * (16 // bits) * 4 + 2 * step
    return x[at : at + 2]


def _multiply(numbers: Numbers, total: list[str], left: list[str], right: list[str]) -> str:
    sums = ", ".join(total)
    kind = f"f32.{numbers.instruction_type}.{numbers.instruction_type}.f32"
    operands = f"{{{sums}}}, {{{', '.join(left)}}}, {{{', '.join(right)}}}, {{{sums}}}"
    return f"mma.sync.aligned.m16n8k16.row.col.{kind} {operands};"


def _float(number: float) -> str:
    return "0f" + struct.pack(">f", number).hex().upper()


def _numbered(*counts: int) -> list[list[str]]:
    """Return the names of operands, as many as each group has, in their order."""
    numbers = itertools.count()
    return [[f"${next(numbers)}" for _ in range(count)] for count in counts]


def _block(registers: dict[str, list[str]], lines: list[str]) -> str:
    declared = [f".reg .{kind} {', '.join(names)};" for kind, names in registers.items()]
    return "\n".join(["{", *declared, *lines, "}"])


def affine(bits: int, dtype: str) -> str:
    """What `weights` takes off numbers and multiplies them by, in both halves of a word, for a thread's two rows.

    out: for each row what is taken off, then the scales, then in bfloat16 what rounding took from them. In: zero points
    as int32, and scales as float32.
    """
    numbers = numbers_of(bits, dtype)
    zeros, scales, rests, zero_points, exact_scales = _numbered(2, 2, 2, 2, 2)
    lines = []
    for zero, scale, rest, zero_point, exact in zip(zeros, scales, rests, zero_points, exact_scales, strict=True):
        if numbers.planes == 2:
            lines += [f"cvt.rn.f32.s32 number, {zero_point};", f"cvt.rn.bf16x2.f32 {zero}, number, number;"]
        else:
            lines.append(f"mad.lo.u32 {zero}, {zero_point}, {_LANES:#x}, {numbers.magic:#x};")
        lines.append(f"cvt.rn.{numbers.instruction_type}x2.f32 {scale}, {exact}, {exact};")
        if numbers.instruction_type == "bf16":
            lines += [
                f"and.b32 high, {scale}, 0xffff0000;",
                "mov.b32 number, high;",
                f"sub.f32 number, {exact}, number;",
            ]
            lines.append(f"cvt.rn.bf16x2.f32 {rest}, number, number;")
        else:
            lines.append(f"mov.b32 {rest}, 0;")
    return _block({"b32": ["high"], "f32": ["number"]}, lines)


def weights(bits: int, run: int, dtype: str, chunk: int) -> str:
    """Weights as the left operand, scale * (code - zero point) rounded once: of each `chunk` input features a text.

    out: each step's 8 numbers, two a word. In: 8 words of codes, then for each run what `affine` makes. Texts are apart
    by a form feed.
    """
    steps_in_chunk = chunk // _STEP
    chunks = range(16 // bits * 32 // chunk)
    return "\f".join(
        _weights(bits, run, dtype, range(each * steps_in_chunk, (each + 1) * steps_in_chunk)) for each in chunks
    )


def _weights(bits: int, run: int, dtype: str, steps: range) -> str:
    numbers, runs = numbers_of(bits, dtype), 16 // bits * 32 // run
    result, words, *of_runs = _numbered(4 * len(steps), 8, *[2] * (3 * runs))
    lines = [f"mov.b32 magic, {numbers.magic:#x};"]
    if numbers.planes == 2:
        lines += ["mov.b32 middle, 0x43084308;", "mov.b32 sixteen, 0x41804180;"]
    for place, step in enumerate(steps):
        zeros, scales, rests = of_runs[step * _STEP // run * 3 : step * _STEP // run * 3 + 3]
        for plane in range(numbers.planes):
            lines += _extract(numbers, words, step, bits, plane, _HIGH if plane else _LEFT)
        for index, left in enumerate(_LEFT):
            row = index % 2
            lines += _scaled(numbers, left, _HIGH[index], zeros[row], scales[row], rests[row])
            lines.append(f"mov.b32 {result[4 * place + index]}, {left};")
    return _block({"b32": ["magic", "shifted", "product", "middle", "sixteen", *_LEFT, *_HIGH]}, lines)


def _scaled(numbers: Numbers, left: str, high: str, zero: str, scale: str, rest: str) -> list[str]:
    kind = f"{numbers.instruction_type}x2"
    lines = [f"sub.{kind} {left}, {left}, {zero};"]
    if numbers.planes == 2:  # 16 * (high - 8) + (low + 128 - zero point), each exact
        lines += [f"sub.{kind} {high}, {high}, middle;", f"fma.rn.{kind} {left}, {high}, sixteen, {left};"]
    if numbers.instruction_type == "f16":
        return [*lines, f"mul.{kind} {left}, {left}, {scale};"]
    return [*lines, f"mul.{kind} product, {left}, {rest};", f"fma.rn.{kind} {left}, {left}, {scale}, product;"]


def halves(words: int) -> str:
    """The two numbers of each word, which the compiler takes apart and puts together again for nothing."""
    numbers, packed = _numbered(2 * words, words)
    lines = [f"mov.b32 {{{numbers[2 * each]}, {numbers[2 * each + 1]}}}, {word};" for each, word in enumerate(packed)]
    return _block({}, lines)
