"""Services of the compose files, up and healthy for as long as tests need them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.images.docker_cli import docker

UP_LIMIT_S = 240


@dataclass(frozen=True)
class Service:
    container: str
    url: str


@contextmanager
def service_up(name: str, *files: str, port_variable: str, variables: dict[str, str]) -> Iterator[Service]:
    """`docker compose up --wait NAME` of `files`, without building, with `variables` set; taken down afterwards."""
    port = _free_port()
    compose = ["compose", "--project-name", "tgi-autoround-tests", *(part for file in files for part in ("-f", file))]
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in {**variables, port_variable: str(port)}.items():
            environment.setenv(variable, value)
        try:
            docker(*compose, "up", "--wait", "--no-build", name, limit_s=UP_LIMIT_S)
            yield Service(docker(*compose, "ps", "--quiet", name).strip(), f"http://127.0.0.1:{port}")
        finally:
            # Without the profiles, `down` overlooks services that were started by name.
            docker(*compose, "--profile", "*", "down", "--volumes", "--timeout", "20", limit_s=120)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
