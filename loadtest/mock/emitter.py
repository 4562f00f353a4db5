"""The exact server of token streams: compiled from emitter.c when it is needed."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.mock.process import server_process

SOURCE = Path(__file__).with_name("emitter.c")


def build_emitter(folder: Path) -> Path:
    """The program's path. Raises LoadTestError without a C compiler, subprocess.CalledProcessError if it fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise LoadTestError("There is no C compiler (cc), which the exact emitter needs: install gcc or clang.")
    program = folder / "emitter"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)], check=True)
    return program


@contextmanager
def emitting(program: Path, ttft_s: float, itl_s: float, tokens: int) -> Iterator[str]:
    """Serve streams of so many tokens at these distances, for as long as the block lasts; yields the base URL."""
    times_us = [str(round(seconds * 1e6)) for seconds in (ttft_s, itl_s)]
    with server_process([str(program), *times_us, str(tokens)]) as url:
        yield url


def emitted_ns(text: str) -> list[int]:
    """When each token of an answer's text was emitted, by CLOCK_MONOTONIC."""
    return [int(stamp) for stamp in text.split()]
