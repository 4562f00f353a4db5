"""Multiply every case in triton's interpreter and print errors against float64 as JSON. A process of its own:

    TRITON_INTERPRET=1 python -m tests.kernels.cuda.interpreted

triton reads the variable where kernels are defined, and tests of the compiler need it unset.
"""

import json
import sys

import torch

import tgi_autoround.kernels  # noqa: F401
from tests.kernels.cuda.cases import CASES, Case
from tests.kernels.cuda.layers import product_in_float64, random_layer, relative_error
from tgi_autoround.kernels.cuda import PortableKernel
from tgi_autoround.kernels.cuda.configuration import MAX_ROWS, Configuration

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


if __name__ == "__main__":
    found = {
        "cases": {str(case): errors_of(case) for case in CASES},
        "many rows": error_of_many_rows(),
        "slices": error_of_a_slice(),
        "imported triton by itself": IMPORTED_TRITON_BY_ITSELF,
    }
    json.dump(found, sys.stdout)
