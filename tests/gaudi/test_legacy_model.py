"""The model that tgi-gaudi 2.0 gets in place of transformers' own, on a CPU under the card's name, in float32."""

import hashlib
from pathlib import Path

import pytest
import torch

from cpu_as_hpu import CpuAsHpu
from tests.coverage import build
from tests.coverage.cases import CASES
from tests.oracle import dequantized_model
from tgi_autoround.linear import QLinear
from tgi_autoround.tgi.legacy.auto_model import GaudiAutoModel
from tgi_autoround.tgi.legacy.view import readable_by_transformers_4_43

TOKENS = [[5, 6, 7, 8, 9]]


def checkpoint(name: str) -> Path:
    return build.checkpoint(next(case for case in CASES if case.name == name))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "name", ["auto_round W4 sym g128", "auto_round:gptqmodel W3 asym g32", "mixed bits, auto_round sym", "bias"]
)
@torch.no_grad()
def test_it_computes_what_the_checkpoint_says_and_leaves_the_users_files_alone(name: str) -> None:
    folder = checkpoint(name)
    before = contents(folder)
    with CpuAsHpu():
        model = load(folder)
        logits = model(torch.tensor(TOKENS)).logits.cpu()
    wanted = dequantized_model(folder)(torch.tensor(TOKENS)).logits
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
    assert not hasattr(model.config, "quantization_config")
    assert contents(folder) == before


def test_attention_finds_what_it_makes_its_cache_like() -> None:
    with CpuAsHpu():
        model = load(checkpoint("auto_round W4 sym g128"))
        for layer in (module for module in model.modules() if isinstance(module, QLinear)):
            assert (layer.scales.dtype, layer.weight.dtype) == (torch.float32, torch.float32)
            assert layer.qweight.device == layer.weight.device == torch.device("hpu")
            assert not layer.weight.numel()


def load(folder: Path) -> torch.nn.Module:
    view = readable_by_transformers_4_43(folder)
    return GaudiAutoModel(folder).from_pretrained(
        str(view), revision=None, torch_dtype=torch.float32, trust_remote_code=False
    )


def test_where_the_op_is_missing_layers_become_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgi_autoround.kernels.hpu.uint4.why_op_is_missing", lambda: "software 1.16 has no such op")
    folder = checkpoint("auto_round W4 sym g128")
    with CpuAsHpu(), torch.no_grad():
        model = load(folder)
        logits = model(torch.tensor(TOKENS)).logits.cpu()
    assert {module.kernel.name for module in model.modules() if isinstance(module, QLinear)} == {"dequantized"}
    torch.testing.assert_close(logits, dequantized_model(folder)(torch.tensor(TOKENS)).logits, atol=1e-4, rtol=1e-4)
