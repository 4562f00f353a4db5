"""The loadtest image: a run by a scenario's name, the web page, and how the server to test is found."""

import json
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.images import builds
from tests.images.docker_cli import docker

pytestmark = pytest.mark.docker

NETWORK = "tgi-autoround-tests-loadtest"
SERVER = "autoround-cpu"
MOCK = ("python", "-m", "loadtest.mock", "--host", "0.0.0.0", "--port", "8080", "--ttft-ms", "20", "--itl-ms", "5")
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")


@pytest.fixture(scope="module")
def image() -> str:
    return builds.build_loadtest()


@pytest.fixture(scope="module")
def network(image: str) -> Iterator[str]:
    """A network on which the mock server goes by the name of our compose service."""
    docker("network", "create", NETWORK)
    try:
        docker("run", "--detach", "--name", SERVER, "--network", NETWORK, image, *MOCK)
        yield NETWORK
    finally:
        docker("rm", "--force", "--volumes", SERVER)
        docker("network", "rm", NETWORK)


def test_a_scenario_is_run_by_its_name_against_the_service_that_is_up(image: str, network: str) -> None:
    volume = f"{NETWORK}-results"
    try:
        printed = docker(
            "run", "--rm", *LOCKED_DOWN, "--network", network, "--volume", f"{volume}:/results",
            image, "chat", "-u", "2", "-t", "3s",
        )  # fmt: skip
        assert "output tokens/s" in printed
        kept = docker("run", "--rm", "--volume", f"{volume}:/results", image, "cat", "/results/chat/summary.json")
        summary = json.loads(kept)
        assert summary["host"] == f"http://{SERVER}:8080"
        assert summary["requests"] > 0
        assert summary["failures"] == 0
    finally:
        docker("volume", "rm", "--force", volume)


def test_the_web_page_is_on_8089_and_aimed_at_the_service(image: str, network: str) -> None:
    page = docker("run", "--detach", *LOCKED_DOWN, "--network", network, "--publish", "127.0.0.1::8089", image).strip()
    try:
        address = docker("port", page, "8089").strip()
        assert f"http://{SERVER}:8080" in page_at(f"http://{address}/")
    finally:
        docker("rm", "--force", "--volumes", page)


def test_without_a_server_it_says_how_to_start_one(image: str) -> None:
    said = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c",
                  "/opt/loadtest/libexec/entrypoint_loadtest.sh chat 2>&1; echo exit code $?")  # fmt: skip
    assert "docker compose up --detach autoround-cpu" in said
    assert "exit code 1" in said


def test_it_runs_as_nobody_special_and_holds_neither_torch_nor_our_server(image: str) -> None:
    assert docker("run", "--rm", image, "id", "-u").strip() == "1000"
    packages = docker("run", "--rm", image, "pip", "list", "--format", "freeze")
    assert "locust==" in packages
    assert "torch==" not in packages


def test_compose_starts_it_only_when_asked_to() -> None:
    services = docker("compose", "config", "--services").split()
    assert "loadtest" not in services
    asked = json.loads(docker("compose", "--profile", "loadtest", "config", "--format", "json"))["services"]["loadtest"]
    assert [port["published"] for port in asked["ports"]] == ["8089"]
    assert asked["read_only"] is True
    assert asked["cap_drop"] == ["ALL"]


def page_at(url: str, limit_s: float = 30) -> str:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
