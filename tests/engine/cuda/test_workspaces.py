"""Memory that kernels keep between launches."""

import pytest
import torch

from tgi_autoround.engine.cuda.ops import decode_attention, greedy

CPU = torch.device("cpu")
KV_HEADS, GROUP, WIDTH, TOKENS = 8, 16, 128, 4096


def test_decode_attention_of_all_batch_sizes_keeps_less_than_twice_what_the_largest_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode_attention, "_multiprocessors", lambda _device: 132)
    kept, largest = {}, 0
    for heads in range(KV_HEADS, 64 * KV_HEADS + 1, KV_HEADS):
        splits = decode_attention._splits(heads, TOKENS, CPU)
        partial, extremes, arrivals = decode_attention._workspace(CPU, heads, splits, GROUP, WIDTH)
        if splits > 1:
            assert partial.numel() >= heads * splits * GROUP * WIDTH
            assert extremes.numel() >= heads * splits * 2 * GROUP
            assert len(arrivals) >= heads
        kept |= {tensor.data_ptr(): tensor.nbytes for tensor in (partial, extremes, arrivals)}
        largest = max(largest, partial.nbytes + extremes.nbytes + arrivals.nbytes)
    assert sum(kept.values()) < 2 * largest


def test_one_split_of_many_sequences_keeps_next_to_nothing() -> None:
    assert sum(tensor.nbytes for tensor in decode_attention._workspace(CPU, 512, 1, GROUP, WIDTH)) < 20_000


def test_greedy_choices_of_all_batch_sizes_keep_less_than_twice_what_the_largest_needs() -> None:
    kept = {}
    for rows in range(1, 65):
        best, best_tokens, sums, arrivals = greedy._workspace(CPU, rows, 32)
        assert min(best.numel(), best_tokens.numel(), sums.numel()) >= rows * 32
        assert len(arrivals) >= rows
        kept |= {tensor.data_ptr(): tensor.nbytes for tensor in (best, best_tokens, sums, arrivals)}
    assert sum(kept.values()) < 2 * 64 * (3 * 32 + 1) * 4
