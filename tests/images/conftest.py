"""Images, made once for all tests of this folder that ask for them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import builds
from tests.images.docker_cli import what_is_missing
from tests.images.torch_index import serve_torch

AUTO_ROUND_CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "quantization_config": {
        "quant_method": "auto-round",
        "packing_format": "auto_round:auto_gptq",
        "bits": 4,
        "group_size": 128,
        "sym": True,
    },
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked docker are left out where no engine answers; CI, which has to bring one, fails instead."""
    if item.get_closest_marker("docker") is None:
        return
    missing = what_is_missing()
    if missing is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{missing} CI has to run the tests of images.")
    pytest.skip(f"{missing} `.ci/with_docker_engine COMMAND` runs a command with one.")


@pytest.fixture(scope="session")
def torch_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_torch(tmp_path_factory.mktemp("index")) as url:
        yield url


@pytest.fixture(scope="session")
def nvidia_image(torch_index: str) -> str:
    """Our `nvidia` target on the stand-in of TGI's published image."""
    return builds.build_nvidia(torch_index)


@pytest.fixture(scope="session")
def gaudi_image() -> str:
    return builds.build_gaudi()


@pytest.fixture(scope="session")
def gaudi_legacy_image() -> str:
    return builds.build_gaudi_legacy()


@pytest.fixture(scope="session")
def cpu_image(torch_index: str) -> str:
    return builds.build_cpu(torch_index)


@pytest.fixture(scope="session")
def quantize_image(torch_index: str) -> str:
    return builds.build_quantize(torch_index)


@pytest.fixture(scope="session")
def auto_round_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the launcher reads of an AutoRound checkpoint: its config.json."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(AUTO_ROUND_CONFIG), encoding="utf-8")
    return folder
