"""What compose makes of its files; the engine is not asked."""

import json
from typing import Any

import pytest

from tests.images.docker_cli import docker

pytestmark = pytest.mark.docker


def config() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(docker("compose", "config", "--format", "json"))
    return parsed


def test_a_bare_up_starts_the_cpu_service_alone() -> None:
    assert docker("compose", "config", "--services").split() == ["autoround-cpu"]


def test_the_demo_model_is_served_on_8080_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL_ID", "PORT"):
        monkeypatch.delenv(name, raising=False)
    service = config()["services"]["autoround-cpu"]
    assert service["environment"]["MODEL_ID"] == "/models/demo"
    assert [port["published"] for port in service["ports"]] == ["8080"]


def test_model_and_port_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ID", "org/name")
    monkeypatch.setenv("PORT", "9000")
    service = config()["services"]["autoround-cpu"]
    assert service["environment"]["MODEL_ID"] == "org/name"
    assert [port["published"] for port in service["ports"]] == ["9000"]


def test_the_container_gets_no_more_rights_than_it_needs() -> None:
    service = config()["services"]["autoround-cpu"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
