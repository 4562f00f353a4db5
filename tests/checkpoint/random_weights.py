"""Random weights in normal form for property tests, act-order included."""

import torch
from hypothesis import strategies as st

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme


def random_weight(
    *,
    bits: int = 4,
    group_size: int = 32,
    sym: bool = False,
    in_features: int = 64,
    out_features: int = 16,
    bias: bool = False,
    act_order: bool = False,
    name: str = "layer",
    seed: int = 0,
) -> NormalForm:
    """A weight whose codes, zero points and scales are random; with `sym`, zero points are the middle."""
    random = torch.Generator().manual_seed(seed)
    spec = LayerSpec(name, QuantScheme(bits, group_size, sym, Packing.GPTQ), in_features, out_features, bias)
    zeros = torch.randint(1, 1 << bits, (spec.num_groups, out_features), generator=random)
    return NormalForm(
        spec,
        codes=torch.randint(1 << bits, (in_features, out_features), generator=random).to(torch.uint8),
        zero_points=(torch.full_like(zeros, 1 << (bits - 1)) if sym else zeros).to(torch.int16),
        scales=(torch.randn(spec.num_groups, out_features, generator=random) * 0.02).half(),
        bias=torch.randn(out_features, generator=random).half() if bias else None,
        input_order=torch.randperm(in_features, generator=random) if act_order else None,
    )


@st.composite
def weights(draw: st.DrawFn, *, act_order: bool = False) -> NormalForm:
    return random_weight(
        bits=draw(st.sampled_from([2, 3, 4, 8])),
        group_size=draw(st.sampled_from([-1, 8, 16, 24, 32])),
        sym=draw(st.booleans()),
        in_features=draw(st.integers(2, 24)) * 4,
        out_features=draw(st.integers(1, 24)),
        bias=draw(st.booleans()),
        act_order=act_order,
        seed=draw(st.integers(0, 2**16)),
    )


@st.composite
def ranges(draw: st.DrawFn, size: int, step: int = 1) -> tuple[int, int]:
    """A range of at least one `step` within `size`, at multiples of `step` or the end."""
    start = draw(st.integers(0, (size - 1) // step))
    stop = draw(st.integers(start + 1, -(-size // step)))
    return start * step, min(stop * step, size)
