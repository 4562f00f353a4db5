"""Random layers in normal form, and their weights in float64 by the definition of the normal form."""

import numpy as np
import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme


def random_layer(
    bits: int, sym: bool, in_features: int, out_features: int, group_size: int, *, bias: bool = False
) -> NormalForm:
    """Scales of both signs; zero points up to 2**bits, which GPTQ's packing can hold."""
    random = torch.Generator().manual_seed(1000 * bits + in_features)
    spec = LayerSpec("layer", QuantScheme(bits, group_size, sym, Packing.GPTQ), in_features, out_features, bias)
    of_groups = (spec.num_groups, out_features)
    zero_points = torch.randint(1, (1 << bits) + 1, of_groups, generator=random).to(torch.int16)
    return NormalForm(
        spec,
        codes=torch.randint(0, 1 << bits, (in_features, out_features), generator=random).to(torch.uint8),
        zero_points=torch.full_like(zero_points, 1 << (bits - 1)) if sym else zero_points,
        scales=(torch.randn(of_groups, generator=random) * 0.02).half(),
        bias=torch.randn(out_features, generator=random).half() if bias else None,
    )


def product_in_float64(x: torch.Tensor, layer: NormalForm) -> np.ndarray:
    codes, zero_points = layer.codes.numpy().astype(np.float64), layer.zero_points.numpy().astype(np.float64)
    group = np.arange(layer.spec.in_features) // layer.spec.group_size
    weight = (codes - zero_points[group]) * layer.scales.numpy().astype(np.float64)[group]
    product = x.double().numpy() @ weight
    return product if layer.bias is None else product + layer.bias.double().numpy()


def relative_error(y: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.linalg.norm(y.double().numpy() - expected) / np.linalg.norm(expected))
