"""The images for Gaudi on stand-ins of the published ones: what is patched, what TGI's launcher gets, how it ends."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.containers import container, launcher_notes
from tests.images.docker_cli import ROOT, docker, inspect, run_docker
from tests.images.gaudi_image import TAGS
from tests.images.services import Service, service_up

pytestmark = pytest.mark.docker

FILES = ("compose/gaudi.yaml", "tests/images/with_model.yaml")
LAZY_COLLECTIVES = "PT_HPU_ENABLE_LAZY_COLLECTIVES"
STOP_LIMIT_S = 10


def has_habana() -> bool:
    """Whether the engine has a runtime of Gaudi's name, as `.ci/with_docker_engine` starts it."""
    return "habana" in json.loads(docker("info", "--format", "{{json .Runtimes}}"))


@pytest.fixture(scope="module")
def service(gaudi_image: str, auto_round_model: Path) -> Iterator[Service]:
    """The service autoround-gaudi as compose starts it."""
    files = FILES if has_habana() else (*FILES, "tests/images/without_habana.yaml")
    variables = {"TGI_AUTOROUND_GAUDI_IMAGE": gaudi_image, "TEST_MODEL": str(auto_round_model)}
    with service_up("autoround-gaudi", *files, port_variable="GAUDI_PORT", variables=variables) as up:
        yield up


@pytest.fixture
def mounted(auto_round_model: Path) -> tuple[str, str]:
    return ("--volume", f"{auto_round_model}:/model:ro")


@pytest.mark.parametrize(
    ("fixture", "patch_set"), [("gaudi_image", "tgi-3.3.7-gaudi"), ("gaudi_legacy_image", "tgi-gaudi-2.0")]
)
def test_every_insertion_of_the_patch_set_is_in_the_image_which_says_so(
    fixture: str, patch_set: str, request: pytest.FixtureRequest
) -> None:
    image = request.getfixturevalue(fixture)
    tool = ("--volume", f"{ROOT}:/repository:ro", "--entrypoint", "python3", image)
    arguments = ("/repository/scripts/apply_patches.py", "verify", patch_set, "--allow-unknown")
    assert "mean what they should" in docker("run", "--rm", *tool, *arguments)
    labels = inspect(image)["Config"]["Labels"]
    assert labels["tgi-autoround.patch-set"] == patch_set
    assert labels["org.opencontainers.image.base.name"] in TAGS.values()


def test_tgis_own_commands_are_still_there_behind_ours(gaudi_image: str) -> None:
    script = (
        "command -v text-generation-launcher; cd /usr/local/bin; cat text-generation-launcher text-generation-server"
    )
    found = docker("run", "--rm", gaudi_image, "sh", "-c", script)
    assert found.startswith("/opt/tgi-autoround/lib/bin/text-generation-launcher\n")
    assert "tgi_autoround" not in found


def test_our_layers_add_at_most_60_mb(gaudi_image: str) -> None:
    added_bytes = inspect(gaudi_image)["Size"] - inspect(TAGS["gaudi"])["Size"]
    assert 0 < added_bytes < 60_000_000


def test_without_arguments_the_launcher_gets_tgis_own(gaudi_image: str) -> None:
    assert launcher_notes(gaudi_image)["arguments"] == ["--json-output"]


def test_one_card_gets_a_batch_size_and_the_choice(gaudi_image: str, mounted: tuple[str, str]) -> None:
    notes = launcher_notes(gaudi_image, "--model-id", "/model", "--quantize", "auto-round", options=mounted)
    assert notes["arguments"] == ["--model-id", "/model"]
    environment = notes["environment"]
    assert (environment["TGI_AUTOROUND"], environment["MAX_BATCH_SIZE"]) == ("1", "32")
    assert (environment["ATTENTION"], environment["PREFIX_CACHING"]) == ("paged", "0")
    assert LAZY_COLLECTIVES not in environment


@pytest.mark.parametrize(
    ("sharding", "collectives"), [(("--sharded", "true", "--num-shard", "8"), "1"), (("--num-shard=8",), "true")]
)
def test_shards_get_lazy_collectives(
    gaudi_image: str, mounted: tuple[str, str], sharding: tuple[str, ...], collectives: str
) -> None:
    notes = launcher_notes(gaudi_image, "--model-id", "/model", *sharding, options=mounted)
    assert notes["arguments"] == ["--model-id", "/model", *sharding]
    assert notes["environment"][LAZY_COLLECTIVES] == collectives


def test_shards_are_as_many_as_the_cards_that_the_container_was_given(
    gaudi_image: str, mounted: tuple[str, str]
) -> None:
    cards = [part for card in range(3) for part in ("--device", f"/dev/null:/dev/accel/accel{card}")]
    options = (*mounted, *cards, "--env", "SHARDED=true")
    assert launcher_notes(gaudi_image, "--model-id", "/model", options=options)["environment"]["NUM_SHARD"] == "3"


def test_other_models_get_what_tgis_entrypoint_gives_and_no_more(gaudi_image: str) -> None:
    sharded = ["--model-id", "/none", "--sharded", "true", "--api-key", "two words 'and' \"quotes\""]
    notes = launcher_notes(gaudi_image, *sharded)
    assert (notes["arguments"], notes["environment"][LAZY_COLLECTIVES]) == (sharded, "1")
    assert not {"NUM_SHARD", "MAX_BATCH_SIZE", "TGI_AUTOROUND"} & set(notes["environment"])
    assert LAZY_COLLECTIVES not in launcher_notes(gaudi_image, "--model-id", "/none", "--num-shard", "8")["environment"]


def test_float16_ends_with_a_sentence(gaudi_image: str, mounted: tuple[str, str]) -> None:
    finished = run_docker("run", "--rm", *mounted, gaudi_image, "--model-id", "/model", "--dtype", "float16")
    assert finished.returncode == 2
    assert "turns it into float32" in finished.stderr


def test_a_command_is_run_in_place_of_the_launcher(gaudi_image: str) -> None:
    command = ("text-generation-server", "serve", "--help")
    assert "auto-round" in docker("run", "--rm", "--env", "COLUMNS=200", gaudi_image, *command)


def test_the_launchers_exit_code_is_the_containers(gaudi_image: str) -> None:
    with container(gaudi_image, "--model-id", "/none", options=("--env", "FAKE_LAUNCHER_EXIT_CODE=3")) as name:
        assert docker("wait", name).strip() == "3"


def test_tgi_gaudi_2_gets_the_choice_as_a_variable(gaudi_legacy_image: str, mounted: tuple[str, str]) -> None:
    arguments = ("--model-id", "/model", "--quantize", "auto-round", "--port", "80")
    notes = launcher_notes(gaudi_legacy_image, *arguments, options=mounted)
    assert notes["arguments"] == ["--model-id", "/model", "--port", "80"]
    assert notes["environment"]["TGI_AUTOROUND"] == "1"


def test_the_service_comes_up_healthy_and_answers_on_its_port(service: Service) -> None:
    assert inspect(service.container)["State"]["Health"]["Status"] == "healthy"
    with urllib.request.urlopen(f"{service.url}/health", timeout=10) as response:
        assert response.status == 200


def test_the_service_starts_the_launcher_for_an_auto_round_model_on_one_card(service: Service) -> None:
    environment = json.loads(docker("exec", service.container, "cat", "/tmp/launcher.json"))["environment"]
    assert (environment["MODEL_ID"], environment["TGI_AUTOROUND"]) == ("/model", "1")
    assert environment["HABANA_VISIBLE_DEVICES"] == "0"
    assert environment["PT_HPU_RECIPE_CACHE_CONFIG"] == "/recipes,false,16384"
    assert not {"QUANTIZE", "NUM_SHARD", LAZY_COLLECTIVES} & set(environment)


def test_the_service_runs_under_gaudis_runtime_with_the_hosts_ipc(service: Service) -> None:
    settings = inspect(service.container)["HostConfig"]
    assert settings["Runtime"] == ("habana" if has_habana() else "runc")
    assert (settings["IpcMode"], settings["CapAdd"]) == ("host", ["SYS_NICE"])


def test_compiled_graphs_and_models_are_kept_in_volumes(service: Service) -> None:
    volumes = {mount["Destination"]: mount["Type"] for mount in inspect(service.container)["Mounts"]}
    assert (volumes["/recipes"], volumes["/data"]) == ("volume", "volume")


def test_sigterm_reaches_the_launcher_which_is_the_first_process(service: Service) -> None:
    """Last, because it stops the service the tests before it use."""
    assert "text-generation-launcher" in docker("exec", service.container, "cat", "/proc/1/cmdline")
    started_s = time.monotonic()
    docker("stop", "--time", "30", service.container)
    assert time.monotonic() - started_s < STOP_LIMIT_S
    assert docker("logs", service.container).endswith("SIGTERM\n")
    assert inspect(service.container)["State"]["ExitCode"] == 0
