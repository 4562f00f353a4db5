"""Whatever can be known beforehand is refused in a sentence, before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models import make_llama, make_tokenizer
from tests.quantize.conftest import RunQuantize, contents_of
from tgi_autoround.errors import TgiAutoRoundError
from tgi_autoround.quantize import resources

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def own_model(model: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(model, tmp_path / "own-model"))


def refusal(run_quantize: RunQuantize, *arguments: object) -> str:
    with pytest.raises(TgiAutoRoundError) as refused:
        run_quantize(*arguments)
    return str(refused.value)


def edit_config(model_dir: Path, **fields: Any) -> None:
    path = model_dir / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--bits", 8, "--asym"), "8-bit asymmetric"),
        (("--bits", 5), "choose 2, 3, 4 or 8"),
        (("--group-size", 100), "multiple of 32"),
        (("--group-size", 0), "multiple of 32"),
        (("--asym", "--group-size", 96), "use --sym, or --group-size 128 or 64 or 32"),
        (("--asym", "--format", "auto_round:auto_gptq"), "cannot hold a zero point of 0"),
        (("--bits", 2, "--format", "auto_round:auto_awq"), "4-bit codes"),
        (("--format", "gguf"), "choose one of auto_round"),
        (("--recipe", "fastest"), "choose one of rtn, light, default, best"),
        (("--recipe", "rtn", "--iters", 10), "rounds without tuning"),
        (("--method", "gptq"), "quantizes with autoround"),
        (("--device", "hpu"), "habana_frameworks is not installed"),
        (("--iters", -1), "at least 0"),
        (("--lr", 0), "learning rate"),
        (("--scale-dtype", "int8"), "choose one of float16"),
        (("--max-shard-size", "5 bananas"), "write a size such as 5GB"),
        (("--nblocks", 2, "--resume"), "--nblocks 1"),
        (("--nsamples", 8, "--n_samples", 9), "give one of them"),
        (("--dataset", "missing.jsonl"), "missing.jsonl cannot be read"),
        (("--dataset", " , "), "names no data set"),
        (("--nsamples", 20_000), "too little calibration data"),
        (("--seqlen", 4096), "longer than the model's context of 2048"),
        (("--nsamples", 2_000_000_000), "not enough"),
        (("--layer-config", "missing.json"), "cannot be read"),
        (("--upload-to-model-id", "someone/model"), "needs a token"),
    ],
)
def test_options_that_cannot_work_are_refused(
    model: Path,
    run_quantize: RunQuantize,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    reason: str,
) -> None:
    monkeypatch.setattr("tgi_autoround.quantize.hub.get_token", lambda: None)
    assert reason in refusal(run_quantize, model, tmp_path / "out", *options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"q_projection": {"bits": 8}}, "names no linear layer"),
        ({"q_proj": {"width": 8}}, "known fields are bits, group_size, sym"),
        ({"q_proj": {"bits": "8"}}, "must be of type int"),
        ({"q_proj": {"bits": 7}}, "choose 2, 3, 4 or 8"),
        ({"q_proj": {"sym": False}}, "cannot hold a zero point of 0"),
        ({"q_proj(": {"bits": 8}}, "neither a layer name nor a regular expression"),
        ({".*": {"bits": 16}}, "no layer would be quantized"),
        (["q_proj"], "must hold an object"),
    ],
)
def test_layer_configs_that_cannot_work_are_refused(
    model: Path, run_quantize: RunQuantize, tmp_path: Path, overrides: Any, reason: str
) -> None:
    file = tmp_path / "layers.json"
    file.write_text(json.dumps(overrides))
    assert reason in refusal(run_quantize, model, tmp_path / "out", "--layer-config", file)


def test_a_model_that_is_not_there_is_refused(run_quantize: RunQuantize, tmp_path: Path) -> None:
    assert "no such model directory" in refusal(run_quantize, tmp_path / "nowhere", tmp_path / "out")


def test_a_directory_without_config_is_refused(run_quantize: RunQuantize, tmp_path: Path) -> None:
    assert "has no config.json" in refusal(run_quantize, tmp_path, tmp_path / "out")


def test_a_model_without_tokenizer_is_refused(own_model: Path, run_quantize: RunQuantize, tmp_path: Path) -> None:
    (own_model / "tokenizer.json").unlink()
    assert "has no tokenizer" in refusal(run_quantize, own_model, tmp_path / "out")


def test_a_quantized_model_is_refused(own_model: Path, run_quantize: RunQuantize, tmp_path: Path) -> None:
    edit_config(
        own_model,
        quantization_config={
            "quant_method": "auto-round",
            "packing_format": "auto_round:auto_gptq",
            "bits": 4,
            "group_size": 128,
            "sym": True,
        },
    )
    assert "is quantized already" in refusal(run_quantize, own_model, tmp_path / "out")


@pytest.mark.parametrize("model_type", ["no-such-type", "vit", "mixtral", "mamba"])
def test_other_architectures_are_refused(
    own_model: Path, run_quantize: RunQuantize, tmp_path: Path, model_type: str
) -> None:
    edit_config(own_model, model_type=model_type)
    assert "unsupported architecture" in refusal(run_quantize, own_model, tmp_path / "out")


def test_an_incomplete_download_is_refused(own_model: Path, run_quantize: RunQuantize, tmp_path: Path) -> None:
    edit_config(own_model, num_hidden_layers=3)
    assert "the files lack model.layers.2." in refusal(run_quantize, own_model, tmp_path / "out")


def test_a_quantized_head_that_shares_the_embedding_is_refused(run_quantize: RunQuantize, tmp_path: Path) -> None:
    tied = make_llama(tmp_path / "tied", hidden=64, intermediate=128, layers=1, tie=True)
    file = tmp_path / "layers.json"
    file.write_text(json.dumps({"lm_head": {"bits": 8}}))
    assert "names no linear layer" in refusal(run_quantize, tied, tmp_path / "out", "--layer-config", file)


def test_an_existing_out_is_refused_and_kept(model: Path, run_quantize: RunQuantize, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    assert "--overwrite" in refusal(run_quantize, model, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"mine": b"precious"}


def test_out_inside_model_is_refused(own_model: Path, run_quantize: RunQuantize) -> None:
    assert "lies inside MODEL" in refusal(run_quantize, own_model, own_model / "out")


def test_model_inside_out_is_refused(own_model: Path, run_quantize: RunQuantize) -> None:
    assert "lies inside OUT" in refusal(run_quantize, own_model, own_model.parent, "--overwrite")


def test_out_in_a_directory_that_is_not_there_is_refused(
    model: Path, run_quantize: RunQuantize, tmp_path: Path
) -> None:
    assert "no such directory" in refusal(run_quantize, model, tmp_path / "a" / "out")


def test_too_small_a_disk_is_refused(
    model: Path, run_quantize: RunQuantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: usage)
    assert "not enough disk" in refusal(run_quantize, model, tmp_path / "out", "--recipe", "rtn")


def test_too_little_memory_is_refused(
    model: Path, run_quantize: RunQuantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "available_memory_bytes", lambda: 10**5)
    assert "not enough memory" in refusal(run_quantize, model, tmp_path / "out", "--recipe", "rtn")


def test_calibration_without_text_is_refused(model: Path, run_quantize: RunQuantize, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": "  "}\n')
    assert "there is no text in it" in refusal(run_quantize, model, tmp_path / "out", "--dataset", empty)


def test_no_calibration_data_when_offline_is_refused(
    run_quantize: RunQuantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No model of this test's brings calibration text along, so the data set on the hub is asked for.
    bare = make_llama(tmp_path / "bare", hidden=64, intermediate=128, layers=1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = refusal(run_quantize, bare, tmp_path / "out")
    assert "no calibration data: NeelNanda/pile-10k" in said
    assert "--dataset FILE" in said


def test_memory_available_is_what_the_kernel_says_or_less() -> None:
    assert 10**8 < resources.available_memory_bytes() < 10**14


def test_a_tokenizer_alone_is_no_model(run_quantize: RunQuantize, tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "tokenizer")
    assert "has no config.json" in refusal(run_quantize, tmp_path / "tokenizer", tmp_path / "out")
