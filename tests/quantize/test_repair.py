"""Files that transformers 5 wrote gain what TGI's transformers 4.51 reads, and lose nothing."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, LlamaConfig

from tests.models import make_llama
from tests.quantize.conftest import RunQuantize
from tgi_autoround.quantize.repair import repair_config, repair_tokenizer_config

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


def test_plain_rope_gets_its_theta_and_no_scaling() -> None:
    repaired = repair_config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})
    assert repaired["rope_theta"] == 1e6
    assert "rope_scaling" not in repaired


def test_two_ropes_of_one_model_get_both_thetas() -> None:
    full = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    sliding = {"rope_type": "default", "rope_theta": 1e4}
    repaired = repair_config({"rope_parameters": {"full_attention": full, "sliding_attention": sliding}})
    assert (repaired["rope_theta"], repaired["rope_local_base_freq"]) == (1e6, 1e4)
    assert repaired["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_partial_rotary_is_named_at_the_top() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    assert repair_config({"rope_parameters": rope})["partial_rotary_factor"] == 0.5


def test_a_config_of_transformers_4_stays_as_it_was() -> None:
    config = {"torch_dtype": "float16", "rope_theta": 1e6, "rope_scaling": None, "model_type": "llama"}
    assert repair_config(config) == config


def test_special_tokens_of_transformers_5_get_their_older_name() -> None:
    repaired = repair_tokenizer_config({"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": ["<a>"]}, None)
    assert repaired == {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<a>"]}


def test_a_template_in_the_tokenizer_config_wins() -> None:
    assert repair_tokenizer_config({"chat_template": "own"}, "file")["chat_template"] == "own"


def test_the_default_theta_is_what_transformers_takes_without_one() -> None:
    assert repair_config({"rope_parameters": {"rope_type": "default"}})["rope_theta"] == LlamaConfig().default_theta
