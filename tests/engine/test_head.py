"""An output projection that is rounded while the model is loaded."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tgi_autoround.engine import EngineConfig, build_engine
from tgi_autoround.engine.head import AS_STORED, round_head, round_to_nearest
from tgi_autoround.linear import QLinear

FP16_STEP = 2.0**-24
"""Between numbers so small that fp16 has no other."""
DEMO_MODEL = Path(__file__).parents[2] / "assets" / "demo-model"


@pytest.mark.parametrize(("bits", "in_features", "group_size"), [(8, 256, 128), (4, 256, 32), (8, 96, 32), (4, 48, 16)])
def test_every_weight_is_rounded_to_the_nearest_step_of_its_group(bits: int, in_features: int, group_size: int) -> None:
    torch.manual_seed(0)
    head = nn.Linear(in_features, 5000, bias=True)
    head.weight.data[7] = 0.0
    head.weight.data[9].abs_()
    rounded = round_to_nearest(head, bits)
    groups = head.weight.detach().view(5000, -1, group_size)
    reach = 2 * groups.abs().amax(-1) if bits == 8 else groups.amax(-1).clamp(min=0) - groups.amin(-1).clamp(max=0)
    error = (rounded.dequantize() - head.weight).view_as(groups).abs().amax(-1)
    assert (error <= 0.51 * reach / (2**bits - 2) + 1e-7).all()
    assert rounded.spec.group_size == group_size
    assert torch.equal(rounded.bias, head.bias)


@pytest.mark.parametrize(
    ("bits", "exact", "kept"), [(None, True, True), (None, False, False), (AS_STORED, False, True)]
)
def test_without_a_choice_the_head_is_rounded_where_activations_are(bits: int | None, exact: bool, kept: bool) -> None:
    model = _model(nn.Linear(128, 64))
    round_head(model, bits, dtype=torch.float32, exact=exact)
    assert isinstance(model.head, nn.Linear) == kept


def test_without_a_choice_the_head_stays_where_no_kernel_rounds_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "auto_round_kernel", None)  # as where auto-round-lib is not installed
    model = _model(nn.Linear(128, 64))
    round_head(model, None, dtype=torch.float32, exact=False)
    assert isinstance(model.head, nn.Linear)


def test_the_log_tells_the_bits_and_the_kernel_of_a_rounded_head(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = _model(nn.Linear(128, 64))
    round_head(model, 4, dtype=torch.float32, exact=True)
    assert f"rounded to 4 bits and runs on {model.head.kernel.name}" in caplog.text


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-5])
def test_small_weights_are_rounded_as_finely_as_the_stored_scales_can_tell(bits: int, size: float) -> None:
    torch.manual_seed(0)
    head = nn.Linear(256, 300, bias=False)
    head.weight.data.uniform_(-size, size)
    error = (round_to_nearest(head, bits).dequantize() - head.weight).abs().max()
    assert error <= 0.51 * (2 * size / (2**bits - 2) + FP16_STEP)


def test_a_rounded_head_computes_what_its_weight_says() -> None:
    torch.manual_seed(0)
    head, rows = nn.Linear(128, 64, bias=False), torch.randn(3, 128)
    expected = rows @ round_to_nearest(head, 4).dequantize().t()
    model = _model(head)
    round_head(model, 4, dtype=torch.float32, exact=True)
    assert isinstance(model.head, QLinear)
    assert torch.allclose(model.head(rows), expected, atol=1e-5)


def test_the_engine_serves_a_tied_head_rounded_and_its_embedding_as_it_is() -> None:
    engine, _tokenizer, _config = build_engine(EngineConfig(DEMO_MODEL, lm_head_bits=4))
    weights = engine._runner._model._weights
    assert weights.head.spec.scheme.bits == 4
    assert torch.equal(
        weights.embedding, load_file(DEMO_MODEL / "model.safetensors")["model.embed_tokens.weight"].float()
    )


def _model(head: nn.Module) -> SimpleNamespace:
    model = SimpleNamespace(head=head, device=torch.device("cpu"))
    model.get_output_embeddings = lambda: model.head
    model.set_output_embeddings = lambda new: setattr(model, "head", new)
    return model
