"""The quantize image: a model goes in, an AutoRound checkpoint is in the volume that the servers mount."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.docker_cli import docker, run_docker

pytestmark = pytest.mark.docker

COMPOSE = ("compose", "--project-name", "tgi-autoround-tests-quantize")
QUICK = ("--bits", "4", "--group-size", "32", "--iters", "0", "--nsamples", "4", "--seqlen", "32")
TGI_COMMAND = ("text-generation-server", "quantize")
QUANTIZE_LIMIT_S = 180


@pytest.fixture(scope="module", autouse=True)
def _volume(quantize_image: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TGI_AUTOROUND_QUANTIZE_IMAGE", quantize_image)
        yield
        docker(*COMPOSE, "--profile", "*", "down", "--volumes")


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> Path:
    """A model that the image's unprivileged user can read: safetensors writes files for their owner alone."""
    for file in tiny_llama.iterdir():
        file.chmod(0o644)
    return tiny_llama


def run_service(model: Path, *arguments: str) -> str:
    mounted = ("--volume", f"{model}:/model:ro")
    return docker(*COMPOSE, "run", "--rm", *mounted, "quantize", *arguments, limit_s=QUANTIZE_LIMIT_S)


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (("/model", "w4", *QUICK), "w4"),
        (
            (*TGI_COMMAND, "--MODEL_ID", "/model", "--OUTPUT_DIR", "tgi", "--method", "autoround", *QUICK),
            "tgi",
        ),
    ],
    ids=["MODEL OUT", "text-generation-server"],
)
def test_a_model_is_quantized_into_the_volume(model: Path, command: tuple[str, ...], out: str) -> None:
    run_service(model, *command)
    reader = ("--entrypoint", "cat", "quantize", f"/data/{out}/config.json")
    settings = json.loads(docker(*COMPOSE, "run", "--rm", *reader))["quantization_config"]
    assert (settings["quant_method"], settings["bits"], settings["group_size"]) == ("auto-round", 4, 32)


def test_a_missing_model_ends_with_a_sentence_and_a_code(quantize_image: str) -> None:
    finished = run_docker("run", "--rm", quantize_image, "/none", "out", limit_s=QUANTIZE_LIMIT_S)
    assert finished.returncode != 0
    assert "Traceback" not in finished.stderr
    assert "/none" in finished.stderr


def test_our_command_can_be_given_by_name(quantize_image: str) -> None:
    assert "inspect" in docker("run", "--rm", quantize_image, "tgi-autoround", "--help")


def test_without_arguments_it_says_how_to_use_it(quantize_image: str) -> None:
    assert "MODEL" in docker("run", "--rm", quantize_image)
