"""ARK's product called directly, as the lean decoder calls it."""

import os
import subprocess
import sys

import pytest
import torch

from tests.kernels.test_kernels import CPU, make_layer
from tgi_autoround.checkpoint import Packing
from tgi_autoround.kernels.cpu import ArkKernel

FEWER_THREADS = """
import torch
from tests.kernels.test_kernels import CPU, make_layer
from tgi_autoround.checkpoint import Packing
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels.cpu import ArkKernel

torch.set_num_threads(2)
kernel, layer = ArkKernel("fp32"), make_layer(4, True, Packing.GPTQ, (256, 96, 32), bias=False)
buffers = kernel.prepare(layer, CPU, torch.float32)
whole = kernel.forward(torch.ones(1, 256), buffers, layer.spec)
torch.set_num_threads(1)
for product in (
    lambda: kernel.forward(torch.ones(1, 256), buffers, layer.spec),
    lambda: kernel.bind(buffers, layer.spec)(torch.ones(1, 256), torch.empty(1, 96)),
    lambda: kernel.prepare(layer, CPU, torch.float32),
):
    try:
        product()
        raise SystemExit("a product with fewer threads than ARK counts on was computed")
    except UnsupportedError as error:
        assert "set the number of threads" in str(error)
"""


@pytest.mark.parametrize("compute", ["int8", "fp32"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 9])
def test_the_bound_product_is_the_checked_one(compute: str, bias: bool, rows: int) -> None:
    kernel, layer = ArkKernel(compute), make_layer(3, False, Packing.GPTQ, (256, 96, 32), bias=bias)
    buffers = kernel.prepare(layer, CPU, torch.float32)
    x = torch.randn(rows, 256)
    out = torch.empty(rows, 96)
    kernel.bind(buffers, layer.spec)(x, out)
    assert torch.equal(out, kernel.forward(x, buffers, layer.spec))


def test_fewer_threads_than_at_its_first_product_are_refused() -> None:
    """It would leave columns of the result as they were, without a word."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", FEWER_THREADS], check=True, env=environment)
