"""Making the environment, and saying why it cannot be made."""

import sys
from pathlib import Path

import pytest

from console import Problem
from environment import create_venv, require_free_space
from pip_install import install
from tests.scripts.commands import write_command

DEBIAN_WITHOUT_VENV = """\
echo 'The virtual environment was not created successfully because ensurepip is not'
echo 'available.  On Debian/Ubuntu systems, you need to install the python3-venv package.'
exit 1"""


def test_a_python_without_venv_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(write_command(tmp_path / "python", DEBIAN_WITHOUT_VENV)))
    with pytest.raises(Problem, match=r"venv module is missing .*apt-get install python3\.\d+-venv"):
        create_venv(tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_an_environment_left_without_pip_is_made_anew(tmp_path: Path) -> None:
    write_command(tmp_path / "venv/bin/python", "exit 1")
    create_venv(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    install(python, ["--help"], tmp_path / "pip.log")
    assert "pip install" in (tmp_path / "pip.log").read_text()


def test_too_little_disk_space_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    require_free_space(tmp_path, 1)
    with pytest.raises(Problem, match=r"Not enough disk space: 1000000\.0 GB are needed"):
        require_free_space(tmp_path, 10**15)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("NewConnectionError('Failed to establish a new connection: [Errno -2]')", "No network"),
        ("ERROR: No matching distribution found for rich==99", "No matching distribution found for rich==99"),
        ("", "no output"),
    ],
)
def test_a_failure_of_pip_is_told_in_a_sentence_with_its_log(tmp_path: Path, output: str, sentence: str) -> None:
    python = write_command(tmp_path / "python", f'echo "{output}"; exit 1' if output else "exit 1")
    log = tmp_path / "pip.log"
    with pytest.raises(Problem, match=sentence) as raised:
        install(python, ["rich"], log)
    assert str(log) in str(raised.value)
    assert output in log.read_text()
