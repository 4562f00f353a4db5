"""The nvidia image on a stand-in of TGI's: what is patched, what reaches TGI's launcher, what comes back from it."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.containers import container, health, launcher_notes
from tests.images.docker_cli import ROOT, docker, inspect, run_docker
from tests.images.services import Service, service_up
from tests.images.tgi_image import TAG as TGI_IMAGE

pytestmark = pytest.mark.docker

FILES = ("compose/nvidia.yaml", "tests/images/without_gpu.yaml")
STOP_LIMIT_S = 10


@pytest.fixture(scope="module")
def service(nvidia_image: str, auto_round_model: Path) -> Iterator[Service]:
    """The service autoround-nvidia as compose starts it, but for the GPU."""
    variables = {"TGI_AUTOROUND_NVIDIA_IMAGE": nvidia_image, "TEST_MODEL": str(auto_round_model)}
    with service_up("autoround-nvidia", *FILES, port_variable="NVIDIA_PORT", variables=variables) as up:
        yield up


def test_every_insertion_of_the_patch_set_is_in_the_image(nvidia_image: str) -> None:
    tool = ("--volume", f"{ROOT}:/repository:ro", "--entrypoint", "python", nvidia_image)
    arguments = ("/repository/scripts/apply_patches.py", "verify", "tgi-3.3.7", "--allow-unknown")
    assert "mean what they should" in docker("run", "--rm", *tool, *arguments)


def test_the_image_says_what_was_patched_and_what_it_is_based_on(nvidia_image: str) -> None:
    labels = inspect(nvidia_image)["Config"]["Labels"]
    assert labels["tgi-autoround.patch-set"] == "tgi-3.3.7"
    assert labels["org.opencontainers.image.base.name"] == TGI_IMAGE
    record = json.loads(docker("run", "--rm", nvidia_image, "cat", "/opt/tgi-autoround/patched.json"))
    assert record["patch_set"] == "tgi-3.3.7"


def test_our_layers_add_at_most_60_mb(nvidia_image: str) -> None:
    added_bytes = inspect(nvidia_image)["Size"] - inspect(TGI_IMAGE)["Size"]
    assert 0 < added_bytes < 60_000_000


def test_the_compiled_kernels_are_in_the_image_and_are_what_the_manifest_says(nvidia_image: str) -> None:
    probe = "from tgi_autoround.kernels.cuda import manifest; [each.image() for each in manifest.read().values()]; "
    counted = docker("run", "--rm", nvidia_image, "python", "-c", f"{probe}print(len(manifest.read()))")
    assert int(counted) > 200


def test_the_choice_is_taken_from_the_command_line_and_handed_to_the_shards(
    nvidia_image: str, auto_round_model: Path
) -> None:
    mounted = ("--volume", f"{auto_round_model}:/model:ro")
    arguments = ("--model-id", "/model", "--quantize", "auto-round", "--num-shard", "2")
    notes = launcher_notes(nvidia_image, *arguments, options=mounted)
    assert notes["arguments"] == ["--model-id", "/model", "--num-shard", "2"]
    assert notes["environment"]["TGI_AUTOROUND"] == "1"


def test_a_model_that_is_not_there_ends_with_a_sentence(nvidia_image: str) -> None:
    offline = ("--env", "HF_HUB_OFFLINE=1", nvidia_image)
    finished = run_docker("run", "--rm", *offline, "--model-id", "/none", "--quantize", "auto-round")
    assert finished.returncode == 1
    assert "/none" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_without_the_choice_nothing_changes(nvidia_image: str) -> None:
    arguments = ["--model-id", "/none", "--quantize", "gptq"]
    notes = launcher_notes(nvidia_image, *arguments)
    assert notes["arguments"] == arguments
    assert "TGI_AUTOROUND" not in notes["environment"]


def test_arguments_with_blanks_and_quotes_stay_whole(nvidia_image: str) -> None:
    arguments = ["--model-id", "/a model", "--rope-factor", 'one "two"  $HOME *']
    assert launcher_notes(nvidia_image, *arguments)["arguments"] == arguments


def test_a_token_given_as_a_secret_is_in_the_environment(nvidia_image: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_secret\n", encoding="utf-8")
    options = ("--volume", f"{tmp_path}/token:/run/secrets/hf_token:ro", "--env", "HF_TOKEN_FILE=/run/secrets/hf_token")
    assert launcher_notes(nvidia_image, options=options)["environment"]["HF_TOKEN"] == "hf_secret"


def test_a_command_is_run_in_place_of_the_launcher(nvidia_image: str) -> None:
    command = ("text-generation-server", "serve", "--help")
    assert "auto-round" in docker("run", "--rm", "--env", "COLUMNS=200", nvidia_image, *command)


def test_quantizing_here_ends_with_a_sentence_that_names_the_right_image(nvidia_image: str) -> None:
    command = ("text-generation-server", "quantize", "model", "out", "--method", "autoround")
    finished = run_docker("run", "--rm", nvidia_image, *command)
    assert finished.returncode != 0
    assert "docker compose run --rm quantize" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("code", [1, 3])
def test_the_launchers_exit_code_is_the_containers(nvidia_image: str, code: int) -> None:
    with container(nvidia_image, "--model-id", "/none", options=("--env", f"FAKE_LAUNCHER_EXIT_CODE={code}")) as name:
        assert docker("wait", name).strip() == str(code)


def test_health_follows_the_port_of_the_command_line(nvidia_image: str) -> None:
    options = ("--init", "--health-interval", "1s")
    with container(nvidia_image, "--model-id", "/none", "--port", "8123", options=options) as name:
        assert health(name) == "healthy"


def test_a_server_that_does_not_answer_is_unhealthy(nvidia_image: str) -> None:
    options = ("--health-interval", "1s", "--health-retries", "1", "--health-start-period", "1s")
    with container(nvidia_image, "sleep", "60", options=options) as name:
        assert health(name) == "unhealthy"


def test_the_service_comes_up_healthy_and_answers_on_its_port(service: Service) -> None:
    assert inspect(service.container)["State"]["Health"]["Status"] == "healthy"
    with urllib.request.urlopen(f"{service.url}/health", timeout=10) as response:
        assert response.status == 200


def test_the_service_starts_the_launcher_for_an_auto_round_model(service: Service) -> None:
    notes = json.loads(docker("exec", service.container, "cat", "/tmp/launcher.json"))
    assert notes["environment"]["MODEL_ID"] == "/model"
    assert notes["environment"]["TGI_AUTOROUND"] == "1"
    assert "QUANTIZE" not in notes["environment"]
    assert notes["environment"]["USAGE_STATS"] == "off"
    assert notes["environment"]["NUM_SHARD"] == "1"


def test_the_volume_can_be_written_by_the_unprivileged_user_of_the_other_images(service: Service) -> None:
    docker("exec", "--user", "1000:0", service.container, "touch", "/data/probe")


def test_sigterm_reaches_the_launcher_which_is_the_first_process(service: Service) -> None:
    """Last, because it stops the service the tests before it use."""
    assert "text-generation-launcher" in docker("exec", service.container, "cat", "/proc/1/cmdline")
    started_s = time.monotonic()
    docker("stop", "--time", "30", service.container)
    assert time.monotonic() - started_s < STOP_LIMIT_S
    assert docker("logs", service.container).endswith("SIGTERM\n")
    assert inspect(service.container)["State"]["ExitCode"] == 0
