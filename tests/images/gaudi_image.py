"""The stand-ins for the published images for Gaudi."""

import shutil
import tempfile
from pathlib import Path

from tests.images.docker_cli import ROOT, docker
from tests.images.python_image import python_image
from tests.images.tgi_image import FOLDER as TGI_FOLDER
from tests.images.tgi_image import SKELETON

FOLDER = Path(__file__).parent / "gaudi_standin"
LEGACY_SKELETON = ROOT / "tests/tgi/legacy_skeleton"
TAGS = {
    "gaudi": "tgi-autoround-tests/text-generation-inference:3.3.7-gaudi",
    "gaudi-legacy": "tgi-autoround-tests/tgi-gaudi:2.0.5",
}


def gaudi_image(target: str) -> str:
    """Tag of the image that stands in for the base of our target, made from what is in the checkout now."""
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(FOLDER, context)
        shutil.copy(TGI_FOLDER / "launcher.py", context)
        for skeleton in (SKELETON, LEGACY_SKELETON):
            shutil.copytree(skeleton, context / skeleton.name, ignore=shutil.ignore_patterns("__pycache__"))
        attention = context / SKELETON.name / "text_generation_server/layers/attention"
        (attention / "cuda.py").rename(attention / "hpu.py")
        options = ("--target", target, "--tag", TAGS[target], "--build-arg", f"PYTHON_IMAGE={python_image()}")
        docker("buildx", "build", "--load", *options, str(context), limit_s=600)
    return TAGS[target]
