"""The emulated op against vectors made by hand and by numpy, and against torch's own rules for ops."""

import numpy as np
import pytest
import torch

from tests.gaudi.oracle import pack_words, to_bfloat16, weight_in_bfloat16

BF16 = torch.bfloat16
convert = torch.ops.hpu.convert_from_uint4
ONES = torch.ones(1, 8, dtype=BF16)


def words(*hexadecimal: str) -> torch.Tensor:
    """One row of words, each written with its highest nibble first."""
    return torch.tensor([[int(digits, 16) for digits in hexadecimal]], dtype=torch.int64).to(torch.int32)


def test_the_lowest_nibble_is_the_first_of_eight_columns() -> None:
    assert convert(words("76543210"), ONES, None, BF16).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_the_highest_nibble_is_no_sign() -> None:
    assert convert(words("f0000008"), ONES, None, BF16).tolist() == [[8, 0, 0, 0, 0, 0, 0, 15]]


def test_packed_zero_points_are_subtracted_as_they_are_below_zero_too() -> None:
    assert convert(words("76543210"), ONES, words("0f888887"), BF16).tolist() == [[-7, -7, -6, -5, -4, -3, -9, 7]]


def test_zero_points_may_be_numbers_of_the_scales_dtype() -> None:
    zeros = torch.full((1, 8), 16, dtype=BF16)
    assert convert(words("76543210"), 2 * ONES, zeros, BF16).tolist() == [[-32, -30, -28, -26, -24, -22, -20, -18]]


def test_a_scale_holds_for_as_many_rows_as_fall_to_it() -> None:
    codes = words("11111111").repeat(6, 1)
    scales = torch.tensor([[1.0], [2.0], [4.0]], dtype=BF16).repeat(1, 8)
    assert convert(codes, scales, None, BF16)[:, 0].tolist() == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("columns", [8, 40, 64])
@pytest.mark.parametrize("group_size", [1, 8, 16, 48])
def test_values_are_those_of_numpy(columns: int, group_size: int) -> None:
    random = np.random.default_rng(columns + group_size)
    groups = 48 // group_size
    codes, zeros = random.integers(0, 16, (48, columns)), random.integers(0, 16, (groups, columns))
    scales = to_bfloat16(random.standard_normal((groups, columns)).astype(np.float32))
    got = convert(
        *map(torch.from_numpy, (pack_words(codes), scales)), torch.from_numpy(pack_words(zeros)), torch.float32
    )
    steps = codes - np.repeat(zeros, group_size, axis=0)
    np.testing.assert_array_equal(got.numpy(), steps * np.repeat(scales, group_size, axis=0))
    got = convert(
        torch.from_numpy(pack_words(codes)),
        torch.from_numpy(scales).bfloat16(),
        torch.from_numpy(pack_words(zeros)),
        BF16,
    )
    np.testing.assert_array_equal(got.float().numpy(), weight_in_bfloat16(codes, zeros, scales, group_size))


@pytest.mark.parametrize("zeros", ["packed", "numbers", "none"])
def test_torch_finds_nothing_wrong_with_the_op(zeros: str) -> None:
    random = torch.Generator().manual_seed(0)
    codes = torch.randint(-(2**31), 2**31, (64, 5), generator=random).to(torch.int32)
    scales = torch.rand(4, 40, generator=random).bfloat16()
    zero_points = {"packed": codes[:4], "numbers": 15 * scales, "none": None}[zeros]
    results = torch.library.opcheck(convert.default, (codes, scales, zero_points, BF16))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((words("0").long(), ONES, None, BF16), "input is torch.int64"),
        ((words("0"), ONES.float(), None, BF16), "scale is torch.float32"),
        ((words("0"), ONES.half(), None, torch.float16), "out_dtype is torch.float16"),
        ((words("0"), ONES.repeat(1, 2), None, BF16), r"scale \[1, 16\] does not repeat to \[1, 8\]"),
        ((words("0").repeat(3, 1), ONES.repeat(2, 1), None, BF16), r"scale \[2, 8\] does not repeat to \[3, 8\]"),
        ((words("0"), ONES, words("0").long(), BF16), "zero_point is torch.int64"),
        ((words("0"), ONES, ONES.repeat(2, 1), BF16), r"zero_point \[2, 8\] does not repeat to \[1, 8\]"),
    ],
)
def test_what_a_card_would_refuse_is_refused(arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(RuntimeError, match=sentence):
        convert(*arguments)
