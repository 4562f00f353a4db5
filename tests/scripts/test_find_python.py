"""scripts/lib/python.sh on machines with other Pythons than this one's."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.commands import write_command

LIBRARY = Path(__file__).parents[2] / "scripts/lib/python.sh"


def find_python(path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-euc", f"source {LIBRARY}; find_python"],
        env={"PATH": str(path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def add_supported(path: Path, name: str) -> Path:
    return write_command(path / name, f'exec {sys.executable} "$@"')


def test_a_supported_python3_is_taken(tmp_path: Path) -> None:
    python = add_supported(tmp_path, "python3")
    add_supported(tmp_path, "python3.12")
    assert find_python(tmp_path).stdout.strip() == str(python)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("echo 'python3: command not found' >&2; exit 127", id="a version manager's empty name"),
        pytest.param(f'[ "$1" = -c ] && {sys.executable} -c "import sys; sys.version_info = (3, 10); $2"', id="3.10"),
        pytest.param(f'[ "$1" = -c ] && {sys.executable} -c "import sys; sys.version_info = (3, 14); $2"', id="3.14"),
    ],
)
def test_a_python3_that_will_not_do_is_passed_over(tmp_path: Path, other: str) -> None:
    write_command(tmp_path / "python3", other)
    python = add_supported(tmp_path, "python3.12")
    assert find_python(tmp_path).stdout.strip() == str(python)


def test_the_variable_python_comes_first(tmp_path: Path) -> None:
    add_supported(tmp_path, "python3")
    chosen = add_supported(tmp_path / "elsewhere", "python")
    assert find_python(tmp_path, PYTHON=str(chosen)).stdout.strip() == str(chosen)


def test_no_python_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    finished = find_python(tmp_path)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "apt-get install python3 python3-venv" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
