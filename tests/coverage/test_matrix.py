import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.coverage import build
from tests.coverage.cases import CASES, Case
from tests.decoder import decode_checkpoint
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.modeling import build_model

TOKENS = torch.arange(3, 60)[None]
EVERY_CASE = [pytest.param(case, id=case.name, marks=[] if case.fast else pytest.mark.slow) for case in CASES]


@functools.cache
def folder_of(name: str) -> Path:
    return build.checkpoint(next(case for case in CASES if case.name == name))


@pytest.mark.parametrize("case", EVERY_CASE)
def test_every_layer_is_read_bit_for_bit(case: Case) -> None:
    folder = folder_of(case.name)
    checkpoint, oracle = open_checkpoint(folder), decode_checkpoint(folder)
    assert oracle
    assert set(checkpoint.quantized_layers) == set(oracle)
    for name, expected in oracle.items():
        weight = checkpoint.load_layer(name)
        assert np.array_equal(weight.zero_points.numpy(), expected["zero_points"]), name
        assert np.array_equal(weight.dequantize().numpy(), expected["weight"]), name


@pytest.mark.parametrize("case", EVERY_CASE)
def test_logits_are_those_of_the_dequantized_model(case: Case) -> None:
    folder = folder_of(case.name)
    model = build_model(open_checkpoint(folder), device=torch.device("cpu"), dtype=torch.float32, exact=True)
    with torch.no_grad():
        expected = dequantized_model(folder)(TOKENS, use_cache=False).logits
        got = model(TOKENS, use_cache=False).logits
    assert (got - expected).norm() / expected.norm() < 1e-4
