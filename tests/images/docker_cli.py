"""The docker command line, run in the repository."""

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHOWN_CHARACTERS = 4000


def run_docker(*arguments: str, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
    """`docker ARGUMENTS` as it ended, well or not."""
    return subprocess.run(
        ["docker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False
    )


def docker(*arguments: str, limit_s: float = 120) -> str:
    """Standard output of `docker ARGUMENTS`; fails the test with the end of its standard error."""
    finished = run_docker(*arguments, limit_s=limit_s)
    assert finished.returncode == 0, finished.stderr[-SHOWN_CHARACTERS:]
    return finished.stdout


def inspect(container: str) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return description


def has_image(tag: str) -> bool:
    return run_docker("image", "inspect", tag).returncode == 0


@functools.cache
def what_is_missing() -> str | None:
    """A sentence about the first part of docker that does not answer; None when all do."""
    if shutil.which("docker") is None:
        return "docker is not installed."
    probes = {
        ("info",): "No docker engine answers here.",
        ("compose", "version"): "docker's compose plugin is not installed.",
        ("buildx", "version"): "docker's buildx plugin is not installed.",
    }
    return next((sentence for probe, sentence in probes.items() if run_docker(*probe).returncode != 0), None)
