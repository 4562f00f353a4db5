"""The cpu service, up and healthy for all tests of this folder that ask for it."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.images.docker_cli import docker

SERVICE = "autoround-cpu"
PROJECT = ("compose", "--project-name", "tgi-autoround-tests")


@dataclass(frozen=True)
class Service:
    container: str
    url: str


@pytest.fixture(scope="session")
def cpu_service() -> Iterator[Service]:
    """Builds nothing: the image is made beforehand with `docker compose build autoround-cpu`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    os.environ["PORT"] = str(port)
    try:
        docker(*PROJECT, "up", "--wait", "--no-build", SERVICE, limit_s=240)
        yield Service(docker(*PROJECT, "ps", "--quiet", SERVICE).strip(), f"http://127.0.0.1:{port}")
    finally:
        del os.environ["PORT"]
        docker(*PROJECT, "down", "--volumes", "--timeout", "20", limit_s=120)
