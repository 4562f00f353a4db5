"""A model whose code lies beside its weights, as ChatGLM's and Baichuan's does: built only when the user trusts it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.coverage import build
from tests.coverage.cases import CASES
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.modeling import build_model

CPU = torch.device("cpu")
CONFIGURATION = """
from transformers import LlamaConfig
class OwnConfig(LlamaConfig):
    model_type = "own"
"""
MODELING = """
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
FIELDS = {
    "model_type": "own",
    "architectures": ["OwnForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
    },
}


@pytest.fixture
def llama() -> Path:
    return build.checkpoint(next(case for case in CASES if case.name == "auto_round W4 sym g128"))


@pytest.fixture
def own_code(llama: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(llama, tmp_path / "own")
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    (folder / "modeling_own.py").write_text(MODELING)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **FIELDS}))
    return folder


def test_code_of_the_model_is_not_run_unless_trusted(own_code: Path) -> None:
    with pytest.raises(UnsupportedError, match="trust_remote_code"):
        build_model(open_checkpoint(own_code), device=CPU, dtype=torch.float32)


def test_trusted_code_computes_with_the_layers_of_the_file(own_code: Path, llama: Path) -> None:
    tokens = torch.arange(3, 60)[None]
    checkpoint = open_checkpoint(own_code)
    model = build_model(checkpoint, device=CPU, dtype=torch.float32, exact=True, trust_remote_code=True)
    with torch.no_grad():
        got, expected = model(tokens).logits, dequantized_model(llama)(tokens).logits
    assert type(model).__name__ == "OwnForCausalLM"
    assert (got - expected).norm() / expected.norm() < 1e-4
