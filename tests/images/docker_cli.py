"""The docker command line, run in the repository."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def docker(*arguments: str, limit_s: float = 60) -> str:
    """Standard output of `docker ARGUMENTS`; fails the test with its standard error."""
    finished = subprocess.run(
        ["docker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def inspect(container: str) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return description
