"""Quantizes a model once: the result's folder is named after everything that decides what is in it."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

from console import Problem, say, step
from paths import LOCK, WORK

_OPTIONS = ("--bits", "4", "--group-size", "128", "--iters", "25", "--nsamples", "64", "--seqlen", "256")

# Threads that spin while they wait make the tuning of a small model several times slower once something else runs.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}


def quantize(bin_folder: Path, model: str) -> Path:
    """Quantize `model`, a directory or a hub id, to 4 bits, or find the result of an earlier run."""
    output = WORK / "models" / f"{_short_name(model)}-w4g128-{_key(model)}"
    if output.exists():
        say(f"Quantized model {output.name}: made by an earlier run")
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    with step(f"Quantizing {model} to 4 bits in groups of 128 with AutoRound"):
        command = [str(bin_folder / "tgi-autoround"), "quantize", model, str(output), *_OPTIONS, "--resume"]
        returned = subprocess.run(command, env=_ENVIRONMENT | os.environ, check=False).returncode
        if returned != 0:
            raise Problem(f"Quantizing {model} failed with exit code {returned}; the reason is printed above.")
    return output


def weights_bytes(folder: Path) -> int:
    """Size of the model's weight files."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _key(model: str) -> str:
    """Changes with the locked versions, the options and the model: its id, or its files' names, sizes and times."""
    parts = [LOCK.read_text(encoding="utf-8"), *_OPTIONS, model]
    folder = Path(model)
    if folder.is_dir():
        states = [(file.name, file.stat()) for file in sorted(folder.iterdir())]
        parts += [f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _short_name(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(model).name) or "model"
