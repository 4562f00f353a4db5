"""Containers for single tests, and what the stand-in of TGI's launcher notes in them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.images.docker_cli import docker, inspect

HEALTH_LIMIT_S = 40


@contextmanager
def container(image: str, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    name = docker("run", "--detach", *options, image, *arguments).strip()
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def launcher_notes(image: str, *arguments: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """What TGI's launcher got in a container that was started with these arguments: `arguments`, `environment`."""
    with container(image, *arguments, options=("--env", "FAKE_LAUNCHER_EXIT_CODE=0", *options)) as name:
        assert docker("wait", name).strip() == "0", docker("logs", name)
        notes: dict[str, Any] = json.loads(docker("logs", name))
    return notes


def health(name: str) -> str:
    """The first verdict on the container's health."""
    deadline_s = time.monotonic() + HEALTH_LIMIT_S
    while (status := str(inspect(name)["State"]["Health"]["Status"])) == "starting":
        assert time.monotonic() < deadline_s, docker("logs", name)
        time.sleep(0.5)
    return status
