"""Makes `.venv` from requirements.lock, once for each state of the lock."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from console import DISK_FULL, Problem, run, say, step
from paths import LOCK, ROOT, WORK
from pip_install import install
from torch_source import TorchSource, choose_torch_source

EXTRAS_TO_RUN = frozenset({"serve", "quantize", "loadtest"})
EXTRAS_TO_DEVELOP = EXTRAS_TO_RUN | {"dev"}
_BYTES_NEEDED = 3 * 10**9


def prepare(extras: frozenset[str]) -> Path:
    """Make or complete `.venv` with the package, editable, and these extras; returns its `bin` folder."""
    venv = ROOT / ".venv"
    stamp = venv / "installed.json"
    installed = _installed_extras(stamp)
    if extras <= installed:
        say("Python environment .venv: up to date")
        return venv / "bin"
    require_free_space(ROOT, _BYTES_NEEDED)
    create_venv(venv)
    install_torch(venv / "bin/python", choose_torch_source())
    wanted = ",".join(sorted(extras | installed))
    with step(f"Installing the package with [{wanted}] from requirements.lock"):
        log = WORK / "pip.log"
        install(venv / "bin/python", ["--constraint", str(LOCK), "--editable", f"{ROOT}[{wanted}]"], log)
    stamp.write_text(json.dumps({"state": _state(), "extras": sorted(extras | installed)}), encoding="utf-8")
    return venv / "bin"


def create_venv(venv: Path) -> None:
    """Make the environment unless it is there; one that an interruption left without pip is made anew."""
    if _has_pip(venv):
        return
    shutil.rmtree(venv, ignore_errors=True)
    with step(f"Making {venv.name} with Python {sys.version.split()[0]}"):
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            shutil.rmtree(venv, ignore_errors=True)
            raise Problem(_venv_diagnosis(made.stdout + made.stderr))


def require_free_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise Problem(
            f"Not enough disk space: {needed_bytes / 1e9:.1f} GB are needed in {folder} "
            f"and {free_bytes / 1e9:.1f} GB are free."
        )


def locked_torch() -> str:
    """The requirement of torch that the lock holds, such as `torch==2.13.0`."""
    match = re.search(r"^torch==\S+$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise Problem(f"{LOCK} pins no torch: make it again with scripts/lock.")
    return match.group()


def install_torch(python: Path, source: TorchSource) -> None:
    """torch comes first and alone: its index has none of the other pinned packages."""
    say(f"torch: {source.reason}")
    with step(f"Installing {locked_torch()}"):
        install(python, ["--no-deps", *source.pip_options, locked_torch()], WORK / "pip-torch.log")


def _has_pip(venv: Path) -> bool:
    python = venv / "bin/python"
    if not python.exists():
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def _installed_extras(stamp: Path) -> frozenset[str]:
    if not stamp.exists():
        return frozenset()
    record = json.loads(stamp.read_text(encoding="utf-8"))
    return frozenset(record["extras"]) if record["state"] == _state() else frozenset()


def _state() -> str:
    sources = (LOCK, ROOT / "pyproject.toml")
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _venv_diagnosis(output: str) -> str:
    if "ensurepip" in output or "No module named venv" in output:
        return (
            "Python's venv module is missing or incomplete: install it "
            f"(Debian, Ubuntu: apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv)."
        )
    if "No space left on device" in output:
        return f"{DISK_FULL}."
    return f"Python could not make a virtual environment: {output.strip().splitlines()[-1]}"


def _main() -> int:
    prepare(EXTRAS_TO_DEVELOP)
    return 0


if __name__ == "__main__":
    run(_main)
