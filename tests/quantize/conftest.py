"""How the tests run the quantize command: in process, or as a real process that can be killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.models import english_text, make_llama
from tgi_autoround.quantize.command import CONTEXT_SETTINGS, quantize

COMMAND = (
    sys.executable,
    "-c",
    "from tgi_autoround.tgi.server_command import main; main()",
    "quantize",
)
QUICK_TUNING = ("--iters", "4", "--nsamples", "8", "--seqlen", "32", "--batch-size", "4")

RunQuantize = Callable[..., str]


@pytest.fixture(scope="session")
def calibration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 450 kB of English, a paragraph a line."""
    path = tmp_path_factory.mktemp("calibration") / "text.jsonl"
    paragraphs = english_text().split("\n\n")
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in paragraphs), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, calibration_file: Path) -> Path:
    """A float16 Llama whose head is its own, and which brings calibration text along."""
    path = make_llama(tmp_path_factory.mktemp("quantize") / "model", hidden=128, intermediate=256, init_std=0.1)
    (path / "calibration.jsonl").write_bytes(calibration_file.read_bytes())
    return path


@pytest.fixture(scope="session")
def run_quantize() -> RunQuantize:
    """Run the command in this process and return what it told the user; its errors are raised."""
    app = typer.Typer()
    app.command(context_settings=CONTEXT_SETTINGS)(quantize)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.output)

    return run


def start_quantize(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def contents_of(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, to compare before and after."""
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def events_of(log_file: Path, event: str) -> list[dict[str, object]]:
    """The events of that name in a job's JSON-lines log."""
    lines = map(json.loads, log_file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["event"] == event]
