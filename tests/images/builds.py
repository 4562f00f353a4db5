"""Our images, built from this checkout on the stand-ins of what they are published on."""

import os
from pathlib import Path

from tests.images.docker_cli import ROOT, docker
from tests.images.gaudi_image import gaudi_image
from tests.images.python_image import python_image
from tests.images.tgi_image import tgi_image

NVIDIA = "tgi-autoround-tests/nvidia"
GAUDI = "tgi-autoround-tests/gaudi"
GAUDI_LEGACY = "tgi-autoround-tests/gaudi-legacy"
CPU = "tgi-autoround-tests/cpu"
QUANTIZE = "tgi-autoround-tests/quantize"
LOADTEST = "tgi-autoround-tests/loadtest"
BUILD_LIMIT_S = 1200


def build_nvidia(torch_index: str, context: Path = ROOT, tag: str = NVIDIA) -> str:
    """Tag of the `nvidia` target; the stand-in's files are of no published release, hence the option."""
    base = tgi_image(torch_index)
    return _build("nvidia", context, tag, TGI_IMAGE=base, TORCH_INDEX=torch_index, PATCH_OPTIONS="--allow-unknown")


def build_gaudi() -> str:
    """Tag of the `gaudi` target, on a stand-in too."""
    return _build("gaudi", ROOT, GAUDI, TGI_GAUDI_IMAGE=gaudi_image("gaudi"), PATCH_OPTIONS="--allow-unknown")


def build_gaudi_legacy() -> str:
    """Tag of the `gaudi-legacy` target, on a stand-in too."""
    base = gaudi_image("gaudi-legacy")
    return _build("gaudi-legacy", ROOT, GAUDI_LEGACY, TGI_GAUDI_LEGACY_IMAGE=base, PATCH_OPTIONS="--allow-unknown")


def build_cpu(torch_index: str) -> str:
    """Tag of the `cpu` target, or of the image that the environment names in its place."""
    return os.environ.get("TGI_AUTOROUND_CPU_IMAGE") or _build("cpu", ROOT, CPU, TORCH_INDEX=torch_index)


def build_quantize(torch_index: str) -> str:
    """Tag of the `quantize` target, for the CPU."""
    return _build("quantize", ROOT, QUANTIZE, TORCH_INDEX=torch_index)


def build_loadtest() -> str:
    return _build("loadtest", ROOT, LOADTEST)


def _build(target: str, context: Path, tag: str, **arguments: str) -> str:
    arguments["BASE_IMAGE"] = python_image()
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    dockerfile = str(context / "docker/Dockerfile")
    command = ["buildx", "build", "--load", "--file", dockerfile, "--target", target, "--tag", tag, *options]
    docker(*command, str(context), limit_s=BUILD_LIMIT_S)
    return tag
