"""The packed layout that the kernels on NVIDIA GPUs read. Pure functions of tensors, on any device.

A *lane* is 16 bits that hold `16 // bits` codes of one output feature, lowest bits first; each code is 32 input
features after the one below it. A *tile* is 32 lanes, and so `32 * (16 // bits)` input features:

    bits   codes a lane   input features a tile   lane c of a tile whose first input feature is f
    2      8              256                     f+c  f+c+32  f+c+64 ... f+c+224
    3      5              160                     f+c  f+c+32  f+c+64  f+c+96  f+c+128    (its highest bit is 0)
    4      4              128                     f+c  f+c+32  f+c+64  f+c+96
    8      2              64                      f+c  f+c+32

Two lanes fill a register, from which one shift and one mask extract two codes that a tensor core reads as they are.
5, 6 and 7 bits take 3, 2 and 2 codes a lane.

`lanes` is int16 [tiles, out_features, 32]. The 32 lanes of a row are stored such that each thread's operands of the
tensor cores are 16 bytes in a row: thread t of the four that share a row reads lanes 2t and 2t+1 of every eight.

    position   0  1  2  3  4  5  6  7     8  9 10 11 12 13 14 15    16 17 18 ...
    lane       0  1  8  9 16 17 24 25     2  3 10 11 18 19 26 27     4  5 12 ...
               thread 0                   thread 1                   thread 2

Input features past the layer's, which fill up the last tile, have code 0; the kernels multiply them by zeros.
"""

import math
from collections.abc import Callable

import torch
from torch.nn.functional import pad

from tgi_autoround.checkpoint import LayerSpec, NormalForm

LANE_BITS = 16
LANES_IN_TILE = 32
LANE_AT_POSITION = tuple(8 * eight + 2 * thread + low for thread in range(4) for eight in range(4) for low in range(2))


def features_in_tile(bits: int) -> int:
    """Return how many input features one tile holds."""
    return LANES_IN_TILE * (LANE_BITS // bits)


def tiles_in(spec: LayerSpec) -> int:
    """Return how many tiles a layer's input features fill, the last one perhaps in part."""
    return -(-spec.in_features // features_in_tile(spec.scheme.bits))


def pack_lanes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the lanes of a layer: uint8 [in_features, out_features] -> int16 [tiles, out_features, 32]."""
    in_features, out_features = codes.shape
    padded = pad(codes, (0, 0, 0, -in_features % features_in_tile(bits)))
    slices = padded.view(-1, LANE_BITS // bits, LANES_IN_TILE, out_features)
    lanes = slices[:, 0].to(torch.int16)
    for index in range(1, slices.shape[1]):
        lanes |= slices[:, index].to(torch.int16) << (index * bits)
    return lanes[:, LANE_AT_POSITION].transpose(1, 2).contiguous()


def pack(
    weight: NormalForm,
    device: torch.device,
    dtype: torch.dtype,
    pack_lanes: Callable[[torch.Tensor, int], torch.Tensor] = pack_lanes,
) -> dict[str, torch.Tensor]:
    """Return a layer's buffers on `device`, for activations of `dtype`.

    lanes: int16 [tiles, out_features, 32]
    scales: float16 [num_groups, out_features]
    zero_points: uint8, or int16 for 8-bit codes, [num_groups, out_features]; only where the layer is asymmetric
    bias: [out_features] in dtype; only where the layer has one
    """
    buffers = {
        "lanes": pack_lanes(weight.codes.to(device), weight.spec.scheme.bits),
        "scales": weight.scales.to(device, torch.float16).contiguous(),
    }
    if not weight.spec.scheme.sym:
        buffers["zero_points"] = weight.zero_points.to(device, zero_point_type(weight.spec)).contiguous()
    if weight.bias is not None:
        buffers["bias"] = weight.bias.to(device, dtype)
    return buffers


def packed_bytes(spec: LayerSpec) -> int:
    """Return what the buffers of `pack` take, without the bias."""
    lanes = tiles_in(spec) * LANES_IN_TILE * torch.int16.itemsize
    in_group = torch.float16.itemsize + (0 if spec.scheme.sym else zero_point_type(spec).itemsize)
    return (lanes + spec.num_groups * in_group) * spec.out_features


def is_scattered(spec: LayerSpec) -> bool:
    """Say whether groups begin or end within a slice of 32 input features."""
    return spec.num_groups > 1 and spec.group_size % LANES_IN_TILE != 0


def run_of(spec: LayerSpec) -> int:
    """Return how many adjacent input features of a tile are in one group for certain, at least a slice's 32."""
    in_tile = features_in_tile(spec.scheme.bits)
    if spec.num_groups == 1:
        return in_tile
    return LANES_IN_TILE if is_scattered(spec) else math.gcd(spec.group_size, in_tile)


def zero_point_type(spec: LayerSpec) -> torch.dtype:
    """Zero points reach 2**bits, not 2**bits - 1, where the file stores them minus 1."""
    return torch.uint8 if spec.scheme.bits < 8 else torch.int16
