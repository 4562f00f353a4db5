"""A server of this package as a process of its own, for as long as a block of code lasts."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GRACE_S = 5


@contextmanager
def mock_server(**settings: float | str) -> Iterator[str]:
    """Start `python -m loadtest.mock` on a free port with these settings (`ttft_ms=...`); yields its base URL."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {"port": 0, **settings}.items()]
    with server_process([sys.executable, "-m", "loadtest.mock", *options]) as url:
        yield url


@contextmanager
def server_process(command: list[str]) -> Iterator[str]:
    """Run a command that prints `listening on URL` once it serves; yields the URL and ends the process."""
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    try:
        said, _, url = process.stdout.readline().strip().rpartition(" ")
        if said != "listening on":
            raise RuntimeError(f"{command} ended with {process.wait(GRACE_S)} before it listened")
        yield url
    finally:
        process.terminate()
        process.wait(GRACE_S)
        process.stdout.close()
