import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoder import bit_stream
from tgi_autoround.checkpoint.packing import pack_awq, pack_stream, unpack_awq, unpack_stream

WIDTHS = (2, 3, 4, 5, 6, 7, 8)


def random_codes(rows: int, columns: int, bits: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 1 << bits, (rows, columns), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@given(bits=st.sampled_from(WIDTHS), blocks=st.integers(1, 4), columns=st.integers(1, 9), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_packed_stream_unpacks_to_the_same_codes(bits: int, blocks: int, columns: int, seed: int) -> None:
    codes = random_codes(32 * blocks, columns, bits, seed)
    assert torch.equal(unpack_stream(pack_stream(codes, bits), bits), codes)


@given(rows=st.integers(1, 9), words=st.integers(1, 4), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_packed_awq_words_unpack_to_the_same_codes(rows: int, words: int, seed: int) -> None:
    codes = random_codes(rows, 8 * words, 4, seed)
    assert torch.equal(unpack_awq(pack_awq(codes)), codes)


@pytest.mark.parametrize("bits", WIDTHS)
def test_any_words_decode_as_a_little_endian_bit_stream(bits: int) -> None:
    words = torch.randint(-(2**31), 2**31, (2 * bits, 5), generator=torch.Generator().manual_seed(bits))
    words = words.to(torch.int32)
    assert np.array_equal(unpack_stream(words, bits).numpy(), bit_stream(words.numpy().T, bits).T)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_stream_may_end_in_a_short_block(bits: int) -> None:
    codes = random_codes(32 + 32 // bits, 3, bits, seed=0)
    assert torch.equal(unpack_stream(pack_stream(codes, bits), bits), codes)


def test_the_zero_points_of_one_group_unpack_whatever_their_strides() -> None:
    codes = random_codes(64, 1, 4, seed=0)
    row = pack_stream(codes, 4).t().clone()
    assert torch.equal(unpack_stream(row.t().contiguous(), 4), codes)


def test_three_bit_codes_10_and_21_straddle_two_words() -> None:
    codes = torch.zeros(32, 1, dtype=torch.uint8)
    codes[10], codes[21] = 0b111, 0b110
    low, middle, high = (int(word) & 0xFFFFFFFF for word in pack_stream(codes, 3)[:, 0])
    assert (low, middle, high) == (0b11 << 30, 0b1 | (0b0 << 31), 0b11)


def test_the_nibbles_of_an_awq_word_hold_columns_0_2_4_6_1_3_5_7() -> None:
    word = torch.tensor([[0x76543210]], dtype=torch.int32)
    assert unpack_awq(word).tolist() == [[0, 4, 1, 5, 2, 6, 3, 7]]
