"""The command line: old spellings are understood, wrong ones get a sentence, and help is quick."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from tests.quantize.conftest import COMMAND, QUICK_TUNING, RunQuantize, events_of
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import ConfigError
from tgi_autoround.quantize.command import quantize
from tgi_autoround.quantize.options import parse_size, tuning_of_recipe


def text_generation_server(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND[:-1], *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_tgis_spelling_quantizes(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--MODEL_ID", model, "--OUTPUT_DIR", out, "--method", "autoround", "--recipe", "rtn")
    done = text_generation_server("quantize", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(open_checkpoint(out).quantized_layers) == 14


def test_auto_rounds_old_names_are_translated_and_told(
    model: Path, calibration_file: Path, run_quantize: RunQuantize, tmp_path: Path
) -> None:
    layers = tmp_path / "layers.json"
    layers.write_text('{"lm_head": {"bits": 16}, "down_proj": {"bits": 8}}')
    arguments = (*QUICK_TUNING[:2], "--n_samples", 6, "--seqlen", 32, "--n_blocks", 1, "--weight_config", layers)
    said = run_quantize(model, tmp_path / "out", *arguments, "--group_size", 64, "--dataset", calibration_file)
    for line in ("--n-samples is now --nsamples: taken as --nsamples 6", "--weight-config is now --layer-config"):
        assert line in said
    schemes = [spec.scheme for spec in open_checkpoint(tmp_path / "out").quantized_layers.values()]
    assert {(scheme.bits, scheme.group_size) for scheme in schemes} == {(4, 64), (8, 64)}
    assert events_of(tmp_path / "out.log.jsonl", "start")[0]["tuning"]["nsamples"] == 6


@pytest.mark.parametrize("command", ["serve", "download-weights"])
def test_other_commands_of_tgi_get_a_sentence(command: str) -> None:
    done = text_generation_server(command, "some/model")
    assert done.returncode == 1
    assert done.stderr == (
        f"text-generation-server: '{command}' is not here: this image only quantizes; "
        "to serve a model use `tgi-autoround serve`, or TGI's own images\n"
    )


def test_an_error_is_one_sentence_without_traceback(tmp_path: Path) -> None:
    done = text_generation_server("quantize", tmp_path / "nowhere", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr == f"text-generation-server: {tmp_path / 'nowhere'}: no such model directory\n"


@pytest.mark.parametrize("arguments", [(), ("model",)])
def test_a_missing_argument_gets_a_sentence(run_quantize: RunQuantize, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="is missing: quantize MODEL OUT"):
        run_quantize(*arguments)


def test_an_argument_given_twice_is_refused(run_quantize: RunQuantize) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        run_quantize("model", "out", "--model-id", "model")


def test_help_does_not_wait_for_torch() -> None:
    program = "import sys, tgi_autoround.quantize.command; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


def test_every_documented_option_exists() -> None:
    options = (
        "bits group-size sym asym iters lr minmax-lr nsamples seqlen batch-size scale-dtype amp no-amp nblocks "
        "gradient-accumulate-steps low-gpu-mem-usage enable-quanted-input enable-minmax-tuning dataset layer-config "
        "device recipe format max-shard-size seed resume overwrite upload-to-model-id"
    )
    app = typer.Typer()
    app.command()(quantize)
    known = {name for option in get_command(app).params for name in (*option.opts, *option.secondary_opts)}
    assert {f"--{option}" for option in options.split()} <= known


def test_recipes_are_auto_rounds() -> None:
    tunings = {name: tuning_of_recipe(name) for name in ("rtn", "light", "default", "best")}
    assert {name: (t.iters, t.nsamples, t.lr) for name, t in tunings.items()} == {
        "rtn": (0, 128, None),
        "light": (50, 128, 5e-3),
        "default": (200, 128, None),
        "best": (1000, 512, None),
    }


def test_an_option_overrides_its_recipe() -> None:
    assert tuning_of_recipe("best", iters=20, nsamples=None).iters == 20
    assert tuning_of_recipe("default", scale_dtype="float32").scale_dtype == "fp32"


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("5GB", 5 * 10**9), ("1.5 MiB", 3 * 2**19), ("400kb", 400_000), ("1000000", 10**6)]
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes
