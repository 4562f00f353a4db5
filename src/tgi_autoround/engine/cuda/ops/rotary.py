"""From the fused q/k/v of a step's rows: queries rotated, keys rotated and stored, values stored."""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from tgi_autoround.engine.cuda.ops.norm import scaled
from tgi_autoround.engine.cuda.ops.ordering import await_previous_kernel, overlap
from tgi_autoround.engine.decoder.weights import Norm


@dataclass(frozen=True, slots=True)
class RowPlaces:
    """Where the rows of a step belong: int32 [rows] each. A row that only fills up a batch has position -1."""

    slots: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """cosines, sines: float32 [positions, rotated / 2]; dimension i of a head is rotated with i + rotated / 2."""

    cosines: torch.Tensor
    sines: torch.Tensor


def rotate_and_store(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    places: RowPlaces,
    tables: RotaryTables,
    query_norm: Norm | None,
    key_norm: Norm | None,
) -> torch.Tensor:
    """Store a layer's new keys and values in the cache; return the queries [rows, heads, head_dim].

    qkv: [rows, (heads + 2 * kv_heads) * head_dim]; keys, values: [slots, kv_heads, max_tokens, head_dim]
    """
    rows, (kv_heads, _, head_dim) = qkv.shape[0], keys.shape[1:]
    heads = qkv.shape[1] // head_dim - 2 * kv_heads
    query = torch.empty(rows, heads, head_dim, dtype=qkv.dtype, device=qkv.device)
    _rotate_and_store[(rows, heads + kv_heads)](
        qkv,
        query,
        keys,
        values,
        places.slots,
        places.positions,
        tables.cosines,
        tables.sines,
        query_norm.weight if query_norm else None,
        key_norm.weight if key_norm else None,
        query_norm.eps if query_norm else 0.0,
        key_norm.eps if key_norm else 0.0,
        keys.stride(0),
        keys.stride(1),
        HEADS=heads,
        KV_HEADS=kv_heads,
        HEAD_DIM=head_dim,
        HALF=tables.cosines.shape[1],
        BLOCK=triton.next_power_of_2(head_dim),
        num_warps=1,
        **overlap(),
    )
    return query


@triton.jit(do_not_specialize=["query_epsilon", "key_epsilon"], do_not_specialize_on_alignment=["slots", "positions"])
def _rotate_and_store(
    qkv,
    query,
    keys,
    values,
    slots,
    positions,
    cosines,
    sines,
    query_norm,
    key_norm,
    query_epsilon,
    key_epsilon,
    slot_stride,
    head_stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
    OVERLAPPED: tl.constexpr,
):
    """Grid: (rows, query heads and then key heads). Rows at position -1 store nothing."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    dim = tl.arange(0, BLOCK)
    inside = dim < HEAD_DIM
    await_previous_kernel(OVERLAPPED)
    position = tl.load(positions + row)
    at_head = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * HEAD_DIM
    angle = tl.maximum(position, 0) * HALF + dim % HALF
    rotates = dim < 2 * HALF
    cosine = tl.load(cosines + angle, mask=rotates, other=1.0)
    sine = tl.load(sines + angle, mask=rotates, other=0.0)
    if head < HEADS:
        rotated = _rotated(at_head, query_norm, query_epsilon, cosine, sine, HEAD_DIM, HALF, BLOCK)
        tl.store(query + (row * HEADS + head) * HEAD_DIM + dim, rotated, mask=inside)
    elif position >= 0:
        rotated = _rotated(at_head, key_norm, key_epsilon, cosine, sine, HEAD_DIM, HALF, BLOCK)
        value = tl.load(at_head + KV_HEADS * HEAD_DIM + dim, mask=inside)
        slot = tl.load(slots + row).to(tl.int64)
        to = slot * slot_stride + (head - HEADS) * head_stride + position * HEAD_DIM + dim
        tl.store(keys + to, rotated, mask=inside)
        tl.store(values + to, value, mask=inside)


@triton.jit
def _rotated(
    at_head,
    norm,
    epsilon,
    cosine,
    sine,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return one head, normed if there is a norm, and rotated: [BLOCK] in the type that is stored."""
    dim = tl.arange(0, BLOCK)
    partner = tl.where(dim < HALF, dim + HALF, dim - HALF)
    inside, paired = dim < HEAD_DIM, dim < 2 * HALF
    x = tl.load(at_head + dim, mask=inside, other=0.0)
    other = tl.load(at_head + partner, mask=paired, other=0.0)
    if norm is not None:
        mean_square = tl.sum(x.to(tl.float32) * x.to(tl.float32)) / HEAD_DIM
        weight = tl.load(norm + dim, mask=inside, other=0.0)
        other_weight = tl.load(norm + partner, mask=paired, other=0.0)
        x = scaled(x, mean_square, epsilon, weight)
        other = scaled(other, mean_square, epsilon, other_weight)
    turned = tl.where(dim < HALF, -other.to(tl.float32), other.to(tl.float32))
    return (x.to(tl.float32) * cosine + turned * sine).to(x.dtype)
