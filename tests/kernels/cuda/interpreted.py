"""Multiply every case in triton's interpreter and print errors against float64 as JSON. A process of its own:

    TRITON_INTERPRET=1 python -m tests.kernels.cuda.interpreted

triton reads the variable where kernels are defined, and tests of the compiler need it unset.
"""

import itertools
import json
import sys

import torch

import tgi_autoround.kernels  # noqa: F401
from tests.kernels.cuda.cases import CASES, Case
from tests.kernels.cuda.layers import product_in_float64, random_layer, relative_error
from tgi_autoround.kernels.cuda import PortableKernel, layout
from tgi_autoround.kernels.cuda.configuration import MAX_ROWS, Configuration
from tgi_autoround.linear import QLinear

IMPORTED_TRITON_BY_ITSELF = "triton" in sys.modules
CPU = torch.device("cpu")
CONFIGURATIONS = {
    "small blocks": Configuration(rows=16, columns=16, warps=4, stages=2, splits=1),
    "split in three": Configuration(rows=16, columns=32, warps=4, stages=2, splits=3),
}


def errors_of(case: Case) -> dict[str, float]:
    from tgi_autoround.kernels.cuda import launch

    layer = random_layer(case.bits, case.sym, *case.shape, bias=case.bias)
    x = torch.randn(case.rows, case.shape[0], generator=torch.Generator().manual_seed(case.rows))
    x = x.to(getattr(torch, case.dtype))
    expected = product_in_float64(x, layer)
    kernel = PortableKernel()
    buffers = kernel.prepare(layer, CPU, x.dtype)
    outputs = {name: launch.multiply(x, buffers, layer.spec, each) for name, each in CONFIGURATIONS.items()}
    outputs["as chosen"] = kernel.forward(x, buffers, layer.spec)
    outputs["dequantized"] = launch.multiply_dequantized(x, buffers, layer.spec)
    return {name: relative_error(y, expected) for name, y in outputs.items()}


def error_of_many_rows() -> float:
    layer = random_layer(4, False, 160, 24, 32)
    x = torch.randn(2, MAX_ROWS, 160, generator=torch.Generator().manual_seed(0)).half()
    kernel = PortableKernel()
    y = kernel.forward(x, kernel.prepare(layer, CPU, x.dtype), layer.spec)
    assert y.shape == (2, MAX_ROWS, 24)
    return relative_error(y.flatten(0, 1), product_in_float64(x.flatten(0, 1), layer))


def error_of_a_slice() -> float:
    layer = random_layer(4, True, 160, 24, 32)
    wide = torch.randn(3, 2, 320, generator=torch.Generator().manual_seed(0)).half()
    kernel = PortableKernel()
    buffers = kernel.prepare(layer, CPU, wide.dtype)
    errors = []
    for part in (wide[:, :, 160:], wide[:, :, ::2]):
        y = kernel.forward(part, buffers, layer.spec)
        errors.append(relative_error(y.flatten(0, 1), product_in_float64(part.flatten(0, 1), layer)))
    return max(errors)


def packings_that_differ() -> list[str]:
    from tgi_autoround.kernels.cuda import launch

    random = torch.Generator().manual_seed(0)
    differ = []
    for bits, shape in itertools.product((2, 3, 4, 5, 6, 7, 8), ((256, 256), (330, 24), (96, 130))):
        codes = torch.randint(0, 1 << bits, shape, generator=random).to(torch.uint8)
        for part in (codes, codes[:, ::2]):
            if not torch.equal(launch.pack_lanes(part, bits), layout.pack_lanes(part, bits)):
                differ.append(f"{bits} bits, {tuple(part.shape)}")
    return differ


def check_operator() -> float:
    """torch's own checks of the operator, and the error of a module that torch.compile takes as one graph."""
    layer = random_layer(4, False, 128, 48, 32, bias=True)
    x = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(0)).half()
    linear = QLinear(layer, PortableKernel(), CPU, x.dtype)
    operator = torch.ops.tgi_autoround.packed_linear
    arguments = (x, linear.lanes, linear.scales, linear.zero_points, linear.bias, 128, 4, 32)
    torch.library.opcheck(operator.default, arguments)
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    y = torch.compile(linear, fullgraph=True, backend=keep)(x)
    assert [node.target for node in graphs[0].graph.nodes if node.op == "call_function"] == [operator]
    return relative_error(y.flatten(0, 1), product_in_float64(x.flatten(0, 1), layer))


if __name__ == "__main__":
    found = {
        "cases": {str(case): errors_of(case) for case in CASES},
        "many rows": error_of_many_rows(),
        "slices": error_of_a_slice(),
        "packings that differ": packings_that_differ(),
        "compiled by torch": check_operator(),
        "imported triton by itself": IMPORTED_TRITON_BY_ITSELF,
    }
    json.dump(found, sys.stdout)
