"""Attention of one new token a sequence over its slot of the cache, split along the tokens to fill the GPU."""

import functools

import torch
import triton
import triton.language as tl

from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.cuda.ops.ordering import await_previous_kernel, is_last_to_arrive, overlap

TOKENS_AT_A_TIME = 64
TOKENS_IN_SPLIT = 256
"""At least: adding splits up takes longer than reading so many tokens."""
MAX_SPLITS = 32
WARPS, STAGES = 4, 3
PROGRAMS_A_MULTIPROCESSOR = 2
_SMALLEST_SIDE_OF_A_DOT = 16
LOG2_E = tl.constexpr(1.4426950408889634)


def attend_to_slots(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
    options: AttentionOptions,
) -> torch.Tensor:
    """Return what each sequence's new token attends to: [batch, heads, head_dim].

    query: [batch, heads, head_dim]; keys, values: [slots, kv_heads, max_tokens, head_dim], row i's sequence in slot i
    positions: int32 [batch] on the device, the last position that each sees; what -1 gets is undefined
    options: scaling, window and softcap count

    How many splits there are follows from shapes alone, so that a captured launch serves sequences of all lengths.
    """
    (batch, heads, head_dim), (kv_heads, max_tokens) = query.shape, keys.shape[1:3]
    group, dims = _padded(heads // kv_heads), _padded(head_dim)
    splits = _splits(batch * kv_heads, max_tokens, query.device)
    result = torch.empty_like(query)
    partial, extremes, arrivals = _workspace(query.device, batch * kv_heads, splits, group, dims)
    _attend_to_slots[(batch, kv_heads, splits)](
        query,
        keys,
        values,
        positions,
        result,
        partial,
        extremes,
        arrivals,
        options.scaling or head_dim**-0.5,
        options.softcap,
        options.window or max_tokens,
        keys.stride(0),
        keys.stride(1),
        HEADS=heads,
        GROUP=heads // kv_heads,
        HEAD_DIM=head_dim,
        GROUP_BLOCK=group,
        DIM_BLOCK=dims,
        TOKENS=TOKENS_AT_A_TIME,
        SMALLEST=TOKENS_IN_SPLIT,
        num_warps=WARPS,
        num_stages=STAGES,
        **overlap(),
    )
    return result


def _padded(side: int) -> int:
    return max(_SMALLEST_SIDE_OF_A_DOT, int(triton.next_power_of_2(side)))


def _splits(sequences_times_heads: int, max_tokens: int, device: torch.device) -> int:
    to_fill_the_device = -(-PROGRAMS_A_MULTIPROCESSOR * _multiprocessors(device) // sequences_times_heads)
    return min(to_fill_the_device, -(-max_tokens // TOKENS_IN_SPLIT), MAX_SPLITS)


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 1


def _workspace(
    device: torch.device, sequences_times_heads: int, splits: int, group: int, dims: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return room for each split's sum, for its largest score and the sum of its weights, and counters of arrivals.

    All layers share it, and batches of about its size: their kernels run one after the other. One split uses none.
    """
    parts = sequences_times_heads * splits if splits > 1 else 1
    return _kept(device, int(triton.next_power_of_2(parts)), group, dims)


@functools.cache
def _kept(device: torch.device, parts: int, group: int, dims: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Captured graphs hold the addresses, so that what was once made stays."""
    partial = torch.empty(parts, group, dims, dtype=torch.float32, device=device)
    extremes = torch.empty(parts, 2, group, dtype=torch.float32, device=device)
    return partial, extremes, torch.zeros(parts, dtype=torch.int32, device=device)


@triton.jit(do_not_specialize=["scaling", "softcap", "window"], do_not_specialize_on_alignment=["positions"])
def _attend_to_slots(
    query,
    keys,
    values,
    positions,
    result,
    partial,
    extremes,
    arrivals,
    scaling,
    softcap,
    window,
    slot_stride,
    head_stride,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    TOKENS: tl.constexpr,
    SMALLEST: tl.constexpr,
    OVERLAPPED: tl.constexpr,
):
    """Grid: (batch, kv_heads, splits). The query heads of a group are the rows of one product with their keys.

    The last of a group's splits to arrive adds them up; splits past a sequence's end do nothing.
    """
    sequence, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    dim, in_group = tl.arange(0, DIM_BLOCK), tl.arange(0, GROUP_BLOCK)
    at_group = (sequence.to(tl.int64) * HEADS + kv_head * GROUP + in_group)[:, None] * HEAD_DIM + dim[None, :]
    inside = (in_group < GROUP)[:, None] & (dim < HEAD_DIM)[None, :]
    await_previous_kernel(OVERLAPPED)
    length = tl.load(positions + sequence) + 1
    begin = tl.maximum(length - window, 0)
    tokens_in_split = tl.maximum(tl.cdiv(tl.cdiv(length - begin, tl.num_programs(2)), TOKENS) * TOKENS, SMALLEST)
    first = begin + split * tokens_in_split
    if first < length:
        rows = tl.load(query + at_group, mask=inside, other=0.0)
        in_cache = sequence.to(tl.int64) * slot_stride + kv_head * head_stride
        stop = tl.minimum(first + tokens_in_split, length)
        total, largest, weights = _attend_to_part(
            rows,
            keys + in_cache,
            values + in_cache,
            first,
            stop,
            scaling,
            softcap,
            HEAD_DIM,
            GROUP_BLOCK,
            DIM_BLOCK,
            TOKENS,
        )
        splits_in_use = tl.cdiv(length - begin, tokens_in_split)
        group = sequence * tl.num_programs(1) + kv_head
        is_last = splits_in_use == 1
        if splits_in_use > 1:
            of_group = group * tl.num_programs(2)
            _store_part(partial, extremes, of_group + split, total, largest, weights, GROUP_BLOCK, DIM_BLOCK)
            is_last = is_last_to_arrive(arrivals + group, splits_in_use)
            if is_last:
                total, weights = _sum_of_parts(partial, extremes, of_group, splits_in_use, GROUP_BLOCK, DIM_BLOCK)
        if is_last:
            tl.store(result + at_group, (total / weights[:, None]).to(rows.dtype), mask=inside)


@triton.jit
def _attend_to_part(
    rows,
    keys,
    values,
    first,
    stop,
    scaling,
    softcap,
    HEAD_DIM: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Return the weighted sum of values `first..stop`, the largest score, and the sum of weights relative to it."""
    dim = tl.arange(0, DIM_BLOCK)[None, :]
    total = tl.zeros((GROUP_BLOCK, DIM_BLOCK), tl.float32)
    largest = tl.full((GROUP_BLOCK,), float("-inf"), tl.float32)
    weights = tl.zeros((GROUP_BLOCK,), tl.float32)
    for start in range(first, stop, TOKENS):
        token = start + tl.arange(0, TOKENS)
        at, inside = token[:, None] * HEAD_DIM + dim, (token < stop)[:, None] & (dim < HEAD_DIM)
        key = tl.load(keys + at, mask=inside, other=0.0)
        value = tl.load(values + at, mask=inside, other=0.0)
        scores = tl.dot(rows, key.T, input_precision="ieee") * scaling
        if softcap is not None:
            scores = softcap * (2 * tl.sigmoid(2 * scores / softcap) - 1)  # tanh
        scores = tl.where((token < stop)[None, :], scores * LOG2_E, float("-inf"))
        now_largest = tl.maximum(largest, tl.max(scores, 1))
        shrink, weight = tl.exp2(largest - now_largest), tl.exp2(scores - now_largest[:, None])
        weights = weights * shrink + tl.sum(weight, 1)
        total = tl.dot(weight.to(value.dtype), value, total * shrink[:, None], input_precision="ieee")
        largest = now_largest
    return total, largest, weights


@triton.jit
def _store_part(partial, extremes, part, total, largest, weights, GROUP_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr):
    row, dim = tl.arange(0, GROUP_BLOCK), tl.arange(0, DIM_BLOCK)
    tl.store(partial + (part * GROUP_BLOCK + row)[:, None] * DIM_BLOCK + dim[None, :], total)
    tl.store(extremes + part * 2 * GROUP_BLOCK + row, largest)
    tl.store(extremes + (part * 2 + 1) * GROUP_BLOCK + row, weights)


@triton.jit
def _sum_of_parts(partial, extremes, first_part, parts, GROUP_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr):
    row, dim = tl.arange(0, GROUP_BLOCK), tl.arange(0, DIM_BLOCK)
    total = tl.zeros((GROUP_BLOCK, DIM_BLOCK), tl.float32)
    largest = tl.full((GROUP_BLOCK,), float("-inf"), tl.float32)
    weights = tl.zeros((GROUP_BLOCK,), tl.float32)
    for part in range(first_part, first_part + parts):
        of_part = tl.load(extremes + part * 2 * GROUP_BLOCK + row, cache_modifier=".cg")
        now_largest = tl.maximum(largest, of_part)
        shrink, share = tl.exp2(largest - now_largest), tl.exp2(of_part - now_largest)
        at = (part * GROUP_BLOCK + row)[:, None] * DIM_BLOCK + dim[None, :]
        total = total * shrink[:, None] + tl.load(partial + at, cache_modifier=".cg") * share[:, None]
        weights = weights * shrink + share * tl.load(
            extremes + (part * 2 + 1) * GROUP_BLOCK + row, cache_modifier=".cg"
        )
        largest = now_largest
    return total, weights
