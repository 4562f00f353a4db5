"""How the commands end: with a sentence and an exit code, and never without cleaning up."""

import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console import Problem, run

LIBRARY = Path(__file__).parents[2] / "scripts/lib"
WAITING_COMMAND = """
import time
from console import run
def main():
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
run(main)
"""


@pytest.fixture(autouse=True)
def _own_signal_handlers() -> Iterator[None]:
    """`run` sets handlers, which are not to stay for the tests after these."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Problem("Port 8080 cannot be used."), "error: Port 8080 cannot be used."),
        (OSError(errno.ENOSPC, "No space left on device"), "error: The disk is full: free some space"),
    ],
)
def test_a_problem_is_one_line_and_exit_code_1(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(raising(error))
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert len(said.splitlines()) == 1


def test_a_fault_of_our_own_is_not_dressed_up_as_the_users() -> None:
    with pytest.raises(OSError, match="Input/output error"):
        run(raising(OSError(errno.EIO, "Input/output error")))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_a_signal_unwinds_the_command(number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", WAITING_COMMAND]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(LIBRARY)}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        assert process.stdout.read() == "cleaned up\n"
    assert process.returncode == code
