"""Random layers as they lie in files, and as numpy reads them."""

from dataclasses import dataclass

import numpy as np
import torch

from tests.decoder import decode_layer
from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme, packing
from tgi_autoround.checkpoint.normal_form import unpack


@dataclass(frozen=True)
class Layer:
    """codes [K, N], zero_points [G, N] and scales [G, N], decoded without the package."""

    weight: NormalForm
    codes: np.ndarray
    zero_points: np.ndarray
    scales: np.ndarray


def make_layer(bits: int, sym: bool, layout: Packing, shape: tuple[int, int, int]) -> Layer:
    """A layer of `shape` (in_features, out_features, group_size) with every code and zero point that fits the width."""
    in_features, out_features, group_size = shape
    random = torch.Generator().manual_seed(bits + 16 * sym)
    spec = LayerSpec("layer", QuantScheme(bits, group_size, sym, layout), in_features, out_features, has_bias=True)
    codes = torch.randint(0, 1 << bits, (in_features, out_features), generator=random).to(torch.uint8)
    stored_zeros = torch.randint(0, 1 << bits, (spec.num_groups, out_features), generator=random).to(torch.uint8)
    if sym:
        stored_zeros.fill_((1 << (bits - 1)) - (layout is Packing.GPTQ))
    scales = (torch.randn(spec.num_groups, out_features, generator=random) * 0.02).half()
    if layout is Packing.AWQ:
        tensors = {"qweight": packing.pack_awq(codes), "qzeros": packing.pack_awq(stored_zeros)}
    else:
        zero_words = packing.pack_stream(stored_zeros.t().contiguous(), bits).t().contiguous()
        tensors = {"qweight": packing.pack_stream(codes, bits), "qzeros": zero_words}
    bias = torch.randn(out_features, generator=random).half()
    decoded = decode_layer(
        {name: tensor.numpy() for name, tensor in {**tensors, "scales": scales}.items()},
        bits=bits,
        group_size=group_size,
        packing=layout.value,
    )
    weight = unpack(spec, tensors["qweight"], tensors["qzeros"], scales, bias=bias)
    return Layer(weight, decoded["codes"], decoded["zero_points"], scales.numpy())
