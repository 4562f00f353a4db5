"""Locust itself with our locustfile, as a process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from loadtest.headless import LOCUSTFILE
from loadtest.llmload.journal import read_records
from loadtest.llmload.record import Record

LIMIT_S = 90


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options]


def run_locust(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Headless, started in `folder`, which is none of the repository's; results go to its folder `out`."""
    return subprocess.run(
        command("--headless", "--host", url, "--out", "out", *options),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = orjson.loads((folder / "out/summary.json").read_bytes())
    return summary


def records_of(folder: Path) -> list[Record]:
    return read_records(folder / "out")
