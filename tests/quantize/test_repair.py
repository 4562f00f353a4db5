"""Files that transformers 5 wrote gain what TGI's transformers 4.51 reads, and lose nothing."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from tests.models import make_llama
from tests.quantize.conftest import RunQuantize
from tgi_autoround.quantize.repair import repair_directory

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}


@pytest.fixture(scope="module")
def result(run_quantize: RunQuantize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rope")
    model = make_llama(directory / "model", hidden=64, intermediate=128, layers=1, rope_parameters=LLAMA3_ROPE)
    run_quantize(model, directory / "out", "--recipe", "rtn", "--group-size", 32)
    return directory / "out"


def test_the_written_config_has_the_older_names_beside_the_newer(result: Path) -> None:
    config = json.loads((result / "config.json").read_text())
    assert config["torch_dtype"] == config["dtype"] == "float16"
    assert config["rope_theta"] == 500_000.0
    assert config["rope_scaling"] == {key: value for key, value in LLAMA3_ROPE.items() if key != "rope_theta"}


def test_transformers_5_still_reads_the_same_rope(result: Path) -> None:
    assert AutoConfig.from_pretrained(result).rope_parameters == LLAMA3_ROPE


def test_the_written_tokenizer_has_a_class_that_4_51_has_and_its_chat_template_inside(result: Path) -> None:
    config = json.loads((result / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "backend" not in config
    assert config["chat_template"] == (result / "chat_template.jinja").read_text()


def test_the_tokenizer_still_encodes_the_same(result: Path) -> None:
    text = "naïve café, 漢字 and 🙂"
    original = AutoTokenizer.from_pretrained(result.parent / "model")
    assert AutoTokenizer.from_pretrained(result)(text) == original(text)


def test_what_tgi_cannot_express_is_left_for_those_who_can(tmp_path: Path) -> None:
    ropes = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    config = json.dumps({"model_type": "olmo3", "rope_parameters": ropes})
    (tmp_path / "config.json").write_text(config)
    repair_directory(tmp_path)
    assert (tmp_path / "config.json").read_text() == config
