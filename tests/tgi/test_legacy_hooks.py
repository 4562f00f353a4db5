"""What tgi-gaudi 2.0's patched server is told of a model, and the files that it reads instead of the user's."""

import enum
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tests.models import make_tokenizer
from tgi_autoround.errors import ConfigError, UnsupportedError
from tgi_autoround.tgi.environment import FORCE_VARIABLE
from tgi_autoround.tgi.legacy import hooks
from tgi_autoround.tgi.legacy.auto_model import GaudiAutoModel
from tgi_autoround.tgi.legacy.environment import TENSORS_VARIABLE
from tgi_autoround.tgi.legacy.view import readable_by_transformers_4_43

OWN = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4}


class Choice(enum.Enum):
    AUTO_ROUND = "auto-round"
    GPTQ = "gptq"
    EETQ = "eetq"


class Dtype(enum.Enum):
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (FORCE_VARIABLE, TENSORS_VARIABLE, "QUANT_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def model(folder: Path, quantization: dict[str, Any] | None, **config: Any) -> str:
    config = {"model_type": "llama", **config} | ({"quantization_config": quantization} if quantization else {})
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("quantize", [None, Choice.AUTO_ROUND, Choice.GPTQ])
def test_autorounds_files_are_loaded_by_this_package(tmp_path: Path, quantize: Choice | None) -> None:
    model_id = model(tmp_path, OWN)
    assert hooks.resolve_model(model_id, "main", quantize, False, Dtype.BFLOAT16) == (model_id, "main", None)
    assert isinstance(hooks.auto_model_class(model_id), GaudiAutoModel)


@pytest.mark.parametrize("quantize", [None, Choice.GPTQ])
def test_other_models_stay_as_they_are(tmp_path: Path, quantize: Choice | None) -> None:
    model_id = model(tmp_path, {"quant_method": "gptq", "bits": 4})
    assert hooks.resolve_model(model_id, "main", quantize, True, Dtype.FLOAT16) == (model_id, "main", quantize)
    assert hooks.auto_model_class(model_id) is AutoModelForCausalLM


def test_files_in_another_format_are_loaded_where_autoround_is_asked_for(tmp_path: Path) -> None:
    model_id = model(tmp_path, {"quant_method": "gptq", "bits": 4})
    hooks.resolve_model(model_id, None, Choice.AUTO_ROUND, False, None)
    assert isinstance(hooks.auto_model_class(model_id), GaudiAutoModel)


def test_several_cards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"DeepSpeed.*leave --sharded and --num-shard away"):
        hooks.resolve_model(model(tmp_path, OWN), None, None, True, None)


def test_a_dtype_that_becomes_float32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"--dtype float16 into float32.*give bfloat16"):
        hooks.resolve_model(model(tmp_path, OWN), None, None, False, Dtype.FLOAT16)


def test_fp8_on_top_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_CONFIG", "fp8.json")
    with pytest.raises(ConfigError, match=r"QUANT_CONFIG asks for FP8.*unset it"):
        hooks.resolve_model(model(tmp_path, OWN), None, None, False, None)


def test_a_vision_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="llava_next has model code of tgi-gaudi's own"):
        hooks.resolve_model(model(tmp_path, OWN, model_type="llava_next"), None, None, False, None)


def test_a_model_that_is_not_quantized_is_refused_where_autoround_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not quantized; make it so"):
        hooks.resolve_model(model(tmp_path, None), None, Choice.AUTO_ROUND, False, None)


def test_another_method_on_top_of_autoround_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--quantize eetq: the model is quantized by AutoRound already"):
        hooks.resolve_model(model(tmp_path, OWN), None, Choice.EETQ, False, None)


def tokenizer_with(folder: Path, merges: Any) -> Path:
    """A tokenizer.json as newer and older releases of tokenizers write it; beside it what makes a model."""
    make_tokenizer(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = merges(content["model"]["merges"])
    (folder / "tokenizer.json").write_text(json.dumps(content))
    model(folder, OWN)
    return folder


def test_merges_in_pairs_become_what_older_tokenizers_read_and_the_users_files_stay(tmp_path: Path) -> None:
    folder = tokenizer_with(tmp_path, merges=lambda pairs: pairs)
    before = contents(folder)
    view = readable_by_transformers_4_43(folder)
    merges = json.loads((view / "tokenizer.json").read_text())["model"]["merges"]
    assert view != folder
    assert all(isinstance(merge, str) and merge.count(" ") == 1 for merge in merges)
    text = "The quick brown fox, as tokenizers of both ages read it"
    own, older = (Tokenizer.from_file(str(path / "tokenizer.json")).encode(text).ids for path in (folder, view))
    assert own == older
    assert contents(folder) == before


def test_merges_that_older_tokenizers_cannot_read_are_refused(tmp_path: Path) -> None:
    folder = tokenizer_with(tmp_path, merges=lambda pairs: [["a b", "c"], *pairs])
    with pytest.raises(UnsupportedError, match="two tokens without blanks"):
        readable_by_transformers_4_43(folder)


def test_a_view_that_the_launcher_made_is_served_with_the_users_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tokenizer_with(tmp_path, merges=lambda pairs: pairs)
    view = readable_by_transformers_4_43(folder)
    monkeypatch.setenv(TENSORS_VARIABLE, str(folder))
    assert hooks.resolve_model(str(view), None, None, False, None) == (str(view), None, None)
    assert isinstance(hooks.auto_model_class(str(view)), GaudiAutoModel)
