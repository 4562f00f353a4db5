"""What tgi-gaudi 2.0's launcher is started with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models import make_tokenizer
from tests.tgi.launching import AUTO_ROUND, LLAMA, STOCK_LAUNCHER
from tgi_autoround.errors import ConfigError
from tgi_autoround.tgi.legacy.launcher import plan


def model(folder: Path, **config: Any) -> Path:
    """A model that tgi-gaudi's own releases can read."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, **config}))
    return folder


def newer_model(folder: Path) -> Path:
    """A model whose tokenizer and config are of newer releases."""
    make_tokenizer(model(folder, quantization_config=AUTO_ROUND))
    return folder


def test_a_plain_model_is_started_as_given(tmp_path: Path) -> None:
    given = ["--model-id", str(model(tmp_path / "m")), "--quantize", "gptq"]
    planned = plan(given, {"REVISION": "main"})
    assert (planned.arguments, planned.environment, planned.added) == (given, {"REVISION": "main"}, {})


@pytest.mark.parametrize("given", [[], ["--model-id", "/nowhere"], ["--help", "--model-id", "/nowhere"]])
def test_what_is_wrong_without_autoround_is_the_launchers_to_report(given: list[str]) -> None:
    assert plan(given, {"HF_HUB_OFFLINE": "1"}).arguments == given


def test_an_autoround_model_that_the_server_can_read_is_started_as_given(tmp_path: Path) -> None:
    given = ["--model-id", str(model(tmp_path / "m", quantization_config=AUTO_ROUND)), "--port", "80"]
    planned = plan(given, {"REVISION": "main"})
    assert (planned.arguments, planned.environment, planned.added) == (given, {"REVISION": "main"}, {})


@pytest.mark.parametrize("spelling", [["--quantize", "auto-round"], ["--quantize=autoround"]])
def test_the_choice_becomes_a_variable(tmp_path: Path, spelling: list[str]) -> None:
    of_model = ["--model-id", str(model(tmp_path / "m", quantization_config=AUTO_ROUND))]
    planned = plan([*of_model, *spelling], {"A": "b"})
    assert (planned.arguments, planned.environment) == (of_model, {"A": "b", "TGI_AUTOROUND": "1"})


def test_the_choice_by_variable_becomes_ours(tmp_path: Path) -> None:
    environment = {
        "MODEL_ID": str(model(tmp_path / "m", quantization_config=AUTO_ROUND)),
        "QUANTIZE": "auto-round",
    }
    assert plan([], environment).environment == {"MODEL_ID": environment["MODEL_ID"], "TGI_AUTOROUND": "1"}


def test_files_of_newer_releases_are_handed_over_as_a_view_and_their_tensors_by_name(tmp_path: Path) -> None:
    folder = newer_model(tmp_path / "m")
    planned = plan(["--revision", "main", "--port", "80", "--model-id", str(folder)], {"REVISION": "main"})
    view = planned.environment["MODEL_ID"]
    assert planned.arguments == ["--port", "80"]
    assert planned.environment == {"MODEL_ID": view, "TGI_AUTOROUND_TENSORS": str(folder)}
    assert isinstance(json.loads(Path(view, "tokenizer.json").read_text())["model"]["merges"][0], str)


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({"HF_TOKEN": "a"}, "a"),
        ({"HF_TOKEN": "a", "HUGGING_FACE_HUB_TOKEN": ""}, "a"),
        ({"HF_TOKEN": "a", "HUGGING_FACE_HUB_TOKEN": "b"}, "b"),
        ({"HF_TOKEN": ""}, None),
        ({}, None),
    ],
)
def test_the_router_gets_the_token_by_the_only_name_that_it_reads(
    given: dict[str, str], token: str | None, tmp_path: Path
) -> None:
    folder = model(tmp_path / "m", quantization_config=AUTO_ROUND)
    assert plan(["--model-id", str(folder)], given).environment.get("HUGGING_FACE_HUB_TOKEN") == token


def test_asking_for_it_with_a_plain_model_says_how_to_quantize(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not quantized; make it so"):
        plan(["--model-id", str(model(tmp_path / "m")), "--quantize", "auto-round"], {})


def test_the_process_becomes_the_launcher(tmp_path: Path) -> None:
    launcher = tmp_path / "programs" / "text-generation-launcher"
    launcher.parent.mkdir()
    launcher.write_text(STOCK_LAUNCHER)
    launcher.chmod(0o755)
    folder = model(tmp_path / "m", quantization_config=AUTO_ROUND)
    record = tmp_path / "record.json"
    done = subprocess.run(
        [sys.executable, "-m", "tgi_autoround.tgi.legacy.launcher", "--model-id", folder, "--quantize", "auto-round"],
        env=os.environ | {"PATH": str(launcher.parent), "RECORD": str(record), "EXIT_CODE": "7"},
        timeout=60,
    )
    assert done.returncode == 7
    assert json.loads(record.read_text())["arguments"] == ["--model-id", str(folder)]
