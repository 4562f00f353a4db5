"""What compose makes of its files; the engine is not asked."""

import json
from typing import Any

import pytest

from tests.images.docker_cli import docker

pytestmark = pytest.mark.docker

PROFILES = ("nvidia", "gaudi", "gaudi-tp8", "gaudi-legacy", "quantize")
PROXY = "http://proxy.example:3128"
VARIABLES = ("MODEL_ID", "PORT", "NVIDIA_PORT", "NUM_SHARD", "HF_TOKEN", "HF_TOKEN_FILE", "MAX_TOTAL_TOKENS")


@pytest.fixture(autouse=True)
def _no_variables_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def services(*profiles: str) -> dict[str, Any]:
    selected = [part for profile in profiles for part in ("--profile", profile)]
    parsed: dict[str, Any] = json.loads(docker("compose", *selected, "config", "--format", "json"))["services"]
    return parsed


def published_ports(of: dict[str, Any]) -> list[str]:
    return [port["published"] for service in of.values() for port in service.get("ports", [])]


def test_a_bare_up_starts_the_cpu_service_alone() -> None:
    assert list(services()) == ["autoround-cpu"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_a_valid_project(profile: str) -> None:
    assert len(services(profile)) > len(services())


def test_services_that_need_a_gpu_are_in_a_profile() -> None:
    with_a_gpu = {name for name, service in services("*").items() if "deploy" in service}
    assert {"autoround-nvidia", "quantize-nvidia"} <= with_a_gpu
    assert not with_a_gpu & set(services())


def test_all_services_together_publish_no_port_twice() -> None:
    published = published_ports(services("*"))
    assert len(published) >= 2
    assert len(published) == len(set(published))


def test_the_demo_model_is_served_on_8080_unless_told_otherwise() -> None:
    service = services()["autoround-cpu"]
    assert service["environment"]["MODEL_ID"] == "/models/demo"
    assert [port["published"] for port in service["ports"]] == ["8080"]


def test_model_and_port_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ID", "org/name")
    monkeypatch.setenv("PORT", "9000")
    service = services()["autoround-cpu"]
    assert service["environment"]["MODEL_ID"] == "org/name"
    assert [port["published"] for port in service["ports"]] == ["9000"]


def test_the_container_gets_no_more_rights_than_it_needs() -> None:
    for name in ("autoround-cpu", "quantize"):
        service = services("*")[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service


def test_the_nvidia_service_has_a_working_default_for_all_it_needs() -> None:
    service = services("nvidia")["autoround-nvidia"]
    environment = {name: value for name, value in service["environment"].items() if value is not None}
    assert environment == {
        "MODEL_ID": "OPEA/Qwen2.5-7B-Instruct-int4-sym-inc",
        "QUANTIZE": "auto-round",
        "NUM_SHARD": "1",
        "PORT": "80",
        "USAGE_STATS": "off",
        "HF_TOKEN_FILE": "/run/secrets/hf_token",
    }
    assert int(service["shm_size"]) >= 2**30
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["start_period"] == "30m0s"


def test_as_many_gpus_are_reserved_as_there_are_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_SHARD", "4")
    service = services("nvidia")["autoround-nvidia"]
    assert service["environment"]["NUM_SHARD"] == "4"
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 4, ["gpu"])


def test_the_launchers_options_are_passed_on_when_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TOTAL_TOKENS", "8192")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    environment = services("nvidia")["autoround-nvidia"]["environment"]
    assert environment["MAX_TOTAL_TOKENS"] == "8192"
    assert environment["HF_TOKEN"] == "hf_secret"


def test_a_proxy_reaches_every_build_and_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("https_proxy", PROXY)
    for name, service in services(*PROFILES).items():
        for settings in (service["build"]["args"], service["environment"]):
            assert (settings["http_proxy"], settings["https_proxy"]) == (PROXY, PROXY), name


def test_servers_and_quantization_share_the_volume_of_models() -> None:
    mounted = {name: service["volumes"][0] for name, service in services(*PROFILES).items()}
    assert {(volume["source"], volume["target"]) for volume in mounted.values()} == {("hub-cache", "/data")}
