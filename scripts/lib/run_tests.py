"""Sets up the environments that the tests need, then hands over to pytest."""

import hashlib
import os
import shutil
import subprocess
import sys

from console import run, say, step
from environment import EXTRAS_TO_DEVELOP, create_venv, prepare
from paths import ROOT, WORK
from pip_install import install

CLIENTS_VENV = ROOT / ".venv-clients"
CLIENTS_REQUIREMENTS = ROOT / "tests/server/clients-requirements.txt"


def main() -> int:
    arguments = sys.argv[1:]
    everything = "--all" in arguments
    bin_folder = prepare(EXTRAS_TO_DEVELOP)
    _prepare_clients()
    command = [str(bin_folder / "python"), "-m", "pytest", "-m", _selection(everything)]
    os.chdir(ROOT)
    os.execv(command[0], [*command, *(argument for argument in arguments if argument != "--all")])


def _selection(everything: bool) -> str:
    """The pytest marker expression of what can and should run here."""
    if not everything:
        return "not slow and not docker"
    if _has_docker():
        return ""
    say("No docker engine with compose answers here: tests of images are left out")
    return "not docker"


def _has_docker() -> bool:
    if shutil.which("docker") is None:
        return False
    probes = (["docker", "info"], ["docker", "compose", "version"], ["docker", "buildx", "version"])
    return all(subprocess.run(probe, capture_output=True, check=False).returncode == 0 for probe in probes)


def _prepare_clients() -> None:
    """Real clients live in an environment of their own, because their pins clash with the server's."""
    stamp = CLIENTS_VENV / "installed.sha256"
    wanted = hashlib.sha256(CLIENTS_REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    create_venv(CLIENTS_VENV)
    with step(f"Installing the clients into {CLIENTS_VENV.name}"):
        requirements = ["--requirement", str(CLIENTS_REQUIREMENTS)]
        install(CLIENTS_VENV / "bin/python", requirements, WORK / "pip-clients.log")
    stamp.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    run(main)
