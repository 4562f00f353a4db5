"""The cpu image with a real engine: serves the demo model, as nobody special, on a read-only root."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.docker_cli import docker, inspect
from tests.images.services import Service, service_up

pytestmark = pytest.mark.docker

STOP_LIMIT_S = 10


@pytest.fixture(scope="module")
def cpu_service(cpu_image: str) -> Iterator[Service]:
    variables = {"TGI_AUTOROUND_CPU_IMAGE": cpu_image}
    with service_up("autoround-cpu", "compose.yaml", port_variable="PORT", variables=variables) as up:
        yield up


def post(url: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def test_the_demo_model_answers_a_chat(cpu_service: Service) -> None:
    messages = [{"role": "user", "content": "What does the sorted function do?"}]
    answer = post(f"{cpu_service.url}/v1/chat/completions", {"messages": messages, "max_tokens": 16})
    choices = answer["choices"]
    assert isinstance(choices, list)
    assert len(choices[0]["message"]["content"].split()) > 3


def test_the_model_is_served_quantized(cpu_service: Service) -> None:
    with urllib.request.urlopen(f"{cpu_service.url}/info", timeout=10) as response:
        assert json.load(response)["model_id"] == "/models/demo"
    settings = json.loads(docker("exec", cpu_service.container, "cat", "/models/demo/config.json"))
    assert settings["quantization_config"]["quant_method"] == "auto-round"
    assert settings["quantization_config"]["bits"] == 4


def test_the_server_is_not_root_and_its_root_is_read_only(cpu_service: Service) -> None:
    assert docker("exec", cpu_service.container, "id", "-u").strip() == "1000"
    probe = "import errno\ntry: open('/opt/probe', 'w')\nexcept OSError as e: print(errno.errorcode[e.errno])"
    refused = docker("exec", "--user", "0", cpu_service.container, "python", "-c", probe)
    assert refused.strip() == "EROFS"


def test_the_hub_cache_can_be_written(cpu_service: Service) -> None:
    docker("exec", cpu_service.container, "touch", "/data/probe")


def test_the_server_is_the_first_process_so_that_signals_reach_it(cpu_service: Service) -> None:
    command = docker("exec", cpu_service.container, "cat", "/proc/1/cmdline").split("\0")
    assert any(Path(part).name == "tgi-autoround" for part in command)


def test_a_healthcheck_is_not_led_astray_by_a_proxy(cpu_service: Service) -> None:
    probe = ("python", "/opt/tgi-autoround/libexec/healthcheck.py")
    docker("exec", "--env", "http_proxy=http://127.0.0.1:9", cpu_service.container, *probe)
    assert inspect(cpu_service.container)["State"]["Health"]["Status"] == "healthy"


def test_both_commands_are_there(cpu_image: str) -> None:
    for command in (("tgi-autoround", "--help"), ("text-generation-server", "quantize", "--help")):
        assert "quantize" in docker("run", "--rm", cpu_image, *command).lower()


def test_an_unknown_model_ends_with_a_sentence(cpu_image: str) -> None:
    name = "tgi-autoround-tests-no-model"
    docker("run", "--detach", "--name", name, cpu_image, "--model-id", "/models/none")
    try:
        assert int(docker("wait", name)) != 0
        log = docker("logs", name)
    finally:
        docker("rm", "--force", name)
    assert "Traceback" not in log


def test_sigterm_ends_it_in_order(cpu_service: Service) -> None:
    """Last, because it stops the service the tests before it use."""
    started_s = time.monotonic()
    docker("stop", "--time", "30", cpu_service.container)
    assert time.monotonic() - started_s < STOP_LIMIT_S
    assert inspect(cpu_service.container)["State"]["ExitCode"] == 0
