import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from tests.coverage import build
from tests.coverage.cases import CASES, Case
from tests.decoder import decode_checkpoint
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.modeling import build_model

TOKENS = torch.arange(3, 60)[None]
LOGITS_BOUND = 1e-4
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
    assert difference(model, dequantized_model(folder)) < LOGITS_BOUND


@torch.no_grad()
def test_the_bound_on_logits_sees_one_wrong_zero_point_in_the_last_layer() -> None:
    folder = folder_of("auto_round W4 sym g128")
    right, wrong = dequantized_model(folder), dequantized_model(folder)
    layer = "model.layers.1.mlp.down_proj"
    step = open_checkpoint(folder).load_layer(layer).scales[0, 0].item()
    wrong.get_submodule(layer).weight[0, :128] += step
    assert difference(wrong, right) > LOGITS_BOUND


@torch.no_grad()
def difference(model: PreTrainedModel, expected: PreTrainedModel) -> float:
    """Relative L2 difference of the logits of both."""
    logits, wanted = (each(TOKENS, use_cache=False).logits for each in (model, expected))
    return ((logits - wanted).norm() / wanted.norm()).item()
