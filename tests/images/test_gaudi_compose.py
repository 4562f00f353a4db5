"""What compose makes of the services for Gaudi; the engine is not asked."""

import pytest

from tests.images.test_compose import services

pytestmark = pytest.mark.docker

PROXY = "http://proxy.example:3128"
SERVICES = {"gaudi": "autoround-gaudi", "gaudi-tp8": "autoround-gaudi-tp8", "gaudi-legacy": "autoround-gaudi-legacy"}
VARIABLES = (
    "MODEL_ID",
    "MAX_BATCH_SIZE",
    "MAX_BATCH_PREFILL_TOKENS",
    "GAUDI_CARD",
    "GAUDI_CARDS",
    "GAUDI_NUM_SHARD",
    "LIMIT_HPU_GRAPH",
)


@pytest.fixture(autouse=True)
def _no_variables_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("profile", SERVICES)
def test_a_profile_adds_its_service_alone_with_access_to_cards(profile: str) -> None:
    service = services(profile).pop(SERVICES[profile])
    assert set(services(profile)) - set(services()) == {SERVICES[profile]}
    assert (service["runtime"], service["cap_add"], service["ipc"]) == ("habana", ["SYS_NICE"], "host")
    assert service["healthcheck"]["start_period"] == "40m0s"
    assert service["environment"]["OMPI_MCA_btl_vader_single_copy_mechanism"] == "none"
    assert service["environment"]["PT_HPU_LAZY_MODE"] == "1"
    assert service["environment"]["QUANTIZE"] == "auto-round"
    assert "privileged" not in service


def test_one_card_serves_the_model_of_the_nvidia_service() -> None:
    environment = services("gaudi")["autoround-gaudi"]["environment"]
    assert environment["MODEL_ID"] == services("nvidia")["autoround-nvidia"]["environment"]["MODEL_ID"]
    assert environment["HABANA_VISIBLE_DEVICES"] == "0"
    assert (environment["MAX_BATCH_SIZE"], environment["MAX_BATCH_PREFILL_TOKENS"]) == ("32", "2048")
    assert "NUM_SHARD" not in environment


def test_eight_cards_are_sharded_with_lazy_collectives(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = services("gaudi-tp8")["autoround-gaudi-tp8"]["environment"]
    assert (environment["SHARDED"], environment["NUM_SHARD"]) == ("true", "8")
    assert environment["HABANA_VISIBLE_DEVICES"] == "all"
    assert environment["PT_HPU_ENABLE_LAZY_COLLECTIVES"] == "true"
    assert (environment["MAX_BATCH_SIZE"], environment["MAX_BATCH_PREFILL_TOKENS"]) == ("256", "4096")
    monkeypatch.setenv("GAUDI_NUM_SHARD", "4")
    monkeypatch.setenv("GAUDI_CARDS", "0,1,2,3")
    environment = services("gaudi-tp8")["autoround-gaudi-tp8"]["environment"]
    assert (environment["NUM_SHARD"], environment["HABANA_VISIBLE_DEVICES"]) == ("4", "0,1,2,3")


def test_no_two_services_share_compiled_graphs() -> None:
    mounted = {volume["source"] for service in SERVICES.values() for volume in services("*")[service]["volumes"]}
    assert mounted == {"hub-cache", "gaudi-recipes", "gaudi-tp8-recipes", "gaudi-legacy-recipes"}


@pytest.mark.parametrize("profile", SERVICES)
def test_a_proxy_is_passed_on_under_both_cases_of_its_names(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"{PROXY}/{name}")
    service = services(profile)[SERVICES[profile]]
    for settings in (service["build"]["args"], service["environment"]):
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            assert settings[name] == f"{PROXY}/{name}"
