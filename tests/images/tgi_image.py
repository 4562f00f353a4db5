"""The stand-in for TGI's published image."""

import shutil
import tempfile
from pathlib import Path

from environment import locked_torch
from tests.images.docker_cli import ROOT, docker
from tests.images.python_image import python_image

TAG = "tgi-autoround-tests/text-generation-inference:3.3.7"
FOLDER = Path(__file__).parent / "tgi_standin"
SKELETON = ROOT / "tests/tgi/skeleton"


def tgi_image(torch_index: str) -> str:
    """Tag of the image, made from what is in the checkout now; the engine's cache makes that quick."""
    torch_version = locked_torch().removeprefix("torch==")
    arguments = {"PYTHON_IMAGE": python_image(), "TORCH_INDEX": torch_index, "TORCH_VERSION": torch_version}
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(FOLDER, context)
        shutil.copytree(SKELETON, context / "skeleton", ignore=shutil.ignore_patterns("__pycache__"))
        docker("buildx", "build", "--load", "--tag", TAG, *options, str(context), limit_s=600)
    return TAG
