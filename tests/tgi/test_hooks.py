"""What TGI's patched server is told of a model, before it reads one itself."""

import enum
import json
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.coverage import build
from tests.coverage.cases import CASES
from tgi_autoround.errors import CheckpointError, ConfigError, UnsupportedError
from tgi_autoround.tgi import hooks
from tgi_autoround.tgi.environment import FORCE_VARIABLE
from tgi_autoround.tgi.loader import AutoRoundWeightsLoader

OWN = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE_VARIABLE, "0")


@pytest.fixture
def asked_for(nothing_asked_for: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE_VARIABLE, "1")


def model(folder: Path, quantization: dict[str, Any] | None, **config: Any) -> str:
    config = {"model_type": "llama", **config}
    if quantization is not None:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def case(name: str) -> Path:
    return build.checkpoint(next(each for each in CASES if each.name == name))


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "auto-round"},
        {"quant_method": "intel/auto-round"},
        {"quant_method": "gptq", "packing_format": "auto_round:gptq"},
    ],
)
@pytest.mark.parametrize("given", [None, "gptq", "awq", "auto-round"])
def test_autorounds_own_files_are_recognized_whatever_the_launcher_made_of_them(
    tmp_path: Path, quantization: dict[str, Any], given: str | None
) -> None:
    folder = model(tmp_path, quantization)
    assert hooks.resolve_model(folder, None, given) == (folder, None, "auto-round")


@pytest.mark.parametrize("given", [None, "gptq", "bitsandbytes"])
@pytest.mark.parametrize("quantization", [None, GPTQ, {"quant_method": "fp8"}])
def test_other_models_stay_as_they_are(tmp_path: Path, quantization: dict[str, Any] | None, given: str | None) -> None:
    folder = model(tmp_path, quantization)
    assert hooks.resolve_model(folder, "main", given) == (folder, "main", given)


def test_a_folder_without_config_is_left_to_tgi(tmp_path: Path) -> None:
    assert hooks.resolve_model(str(tmp_path), None, None) == (str(tmp_path), None, None)


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("given", [None, "gptq"])
def test_what_was_asked_for_wins_over_the_config_and_over_what_the_launcher_adds(
    tmp_path: Path, given: str | None
) -> None:
    folder = model(tmp_path, GPTQ)
    assert hooks.resolve_model(folder, None, given)[2] == "auto-round"


@pytest.mark.usefixtures("asked_for")
def test_asking_for_it_with_a_model_that_is_not_quantized_says_how_to_quantize(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not quantized; make it so with `text-generation-server quantize"):
        hooks.resolve_model(model(tmp_path, None), None, None)


def test_another_method_on_top_of_autoround_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--quantize eetq: the model is quantized by AutoRound already"):
        hooks.resolve_model(model(tmp_path, OWN), None, "eetq")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "gpt2"}, "transposes"),
        ({"model_type": "gpt_neox"}, "reorders"),
        ({"model_type": "phi", "num_attention_heads": 8, "num_key_value_heads": 2}, "grouped-query attention"),
    ],
)
def test_architectures_that_tgi_would_read_wrong_are_refused(
    tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedError, match=f"{reason}.*tgi-autoround serve"):
        hooks.resolve_model(model(tmp_path, OWN, **config), None, None)


def test_files_of_transformers_5_are_read_through_a_view_and_their_tensors_from_the_folder_itself() -> None:
    folder = case("auto_round W4 sym g128")
    model_id, revision, quantize = hooks.resolve_model(str(folder), "main", None)
    assert (Path(model_id) != folder, revision, quantize) == (True, None, "auto-round")
    assert json.loads(Path(model_id, "config.json").read_text())["rope_theta"] == 10_000.0
    assert isinstance(hooks.get_loader(model_id, revision), AutoRoundWeightsLoader)


class Choice(enum.Enum):
    AUTO_ROUND = "auto-round"
    GPTQ = "gptq"
    EETQ = "eetq"


def test_the_choice_on_tgis_own_command_line_travels_by_the_environment() -> None:
    assert hooks.take_cli_choice(Choice.GPTQ) is Choice.GPTQ
    assert hooks.take_cli_choice(None) is None
    assert os.environ[FORCE_VARIABLE] == "0"
    assert hooks.take_cli_choice(Choice.AUTO_ROUND) is None
    assert os.environ[FORCE_VARIABLE] == "1"


@pytest.mark.usefixtures("asked_for")
def test_what_the_launcher_added_to_an_asked_for_auto_round_does_not_forbid_dtype() -> None:
    assert hooks.take_cli_choice(Choice.GPTQ) is None
    assert hooks.take_cli_choice(Choice.EETQ) is Choice.EETQ


def test_a_quantized_head_that_the_config_ties_to_the_embeddings_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(case("lm_head quantized"), tmp_path / "model")
    hooks.get_loader(str(folder), None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    with pytest.raises(CheckpointError, match=r"lm_head: .*set tie_word_embeddings to false"):
        hooks.get_loader(str(folder), None)


def test_a_model_that_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("/no/such/model", "no/such-model"):
        with pytest.raises(CheckpointError, match=f"{name}: no such directory"):
            hooks.resolve_model(name, None, None)


def test_transformers_never_loads_packed_weights_by_itself() -> None:
    for quantize in (None, "gptq"):
        hooks.refuse_transformers(quantize, "a plain model")
        assert hooks.auto_model_class(quantize) is AutoModelForCausalLM
    with pytest.raises(UnsupportedError, match="would run it as a plain model, which cannot load packed weights"):
        hooks.refuse_transformers("auto-round", "a plain model")


def from_pretrained(folder: Path, **changes: Any) -> Any:
    """As TransformersFlashCausalLM calls it."""
    arguments = {
        "revision": None,
        "torch_dtype": torch.float32,
        "load_in_8bit": False,
        "trust_remote_code": False,
        "attn_implementation": "tgi",
        "device_map": torch.device("cpu"),
        "tp_plan": None,
    }
    return hooks.auto_model_class("auto-round").from_pretrained(str(folder), **{**arguments, **changes})


def test_architectures_on_transformers_code_get_our_layers_and_tgis_attention() -> None:
    model = from_pretrained(case("auto_round W4 sym g128"))
    assert type(model.model.layers[0].mlp.up_proj).__name__ == "QLinear"
    assert model.config._attn_implementation == "tgi"


class Cache:
    pass


def test_attention_of_qwen3_moe_gets_what_its_decoder_layer_was_given() -> None:
    layer = from_pretrained(case("qwen3_moe")).model.layers[0]
    given: dict[str, Any] = {}

    def attend(hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, None]:
        given.update(kwargs)
        return hidden_states, None

    layer.self_attn.forward = attend
    with torch.no_grad():
        layer(torch.zeros(1, 2, 128), position_embeddings=None, kv_cache=(cache := Cache()), slots="the slots")
    assert (given.pop("kv_cache"), given["slots"]) == (cache, "the slots")
    kept = weakref.ref(cache)
    del cache
    assert kept() is None, "TGI frees a cache after warming up"


def test_cuda_graphs_are_refused_where_the_model_cannot_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_GRAPHS", "1,2,4")
    from_pretrained(case("auto_round W4 sym g128"))
    with pytest.raises(ConfigError, match="give --cuda-graphs 0"):
        from_pretrained(case("qwen3_moe"))


def test_architectures_on_transformers_code_are_refused_in_shards() -> None:
    with pytest.raises(UnsupportedError, match="served on one GPU; leave --num-shard"):
        from_pretrained(case("auto_round W4 sym g128"), device_map=None, tp_plan="auto")


def test_float16_on_gaudi_which_becomes_float32_is_refused_for_autoround_only() -> None:
    hooks.refuse_float32("auto-round", torch.bfloat16)
    hooks.refuse_float32(None, torch.float32)
    with pytest.raises(UnsupportedError, match=r"--dtype float16 into float32.*give bfloat16"):
        hooks.refuse_float32("auto-round", torch.float32)
