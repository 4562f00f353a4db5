"""How long a developer waits for an image after a change."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.images.builds import build_nvidia
from tests.images.docker_cli import ROOT, docker

pytestmark = pytest.mark.docker

REBUILD_LIMIT_S = 60
CUBINS = ROOT / "src/tgi_autoround/kernels/cuda/cubins"
"""Compiled kernels, which git does not list; where they are not, those of the image's first build are in its cache."""
TAG = "tgi-autoround-tests/nvidia-rebuilt"


def test_a_change_of_our_code_is_in_the_nvidia_image_within_a_minute(
    nvidia_image: str, torch_index: str, tmp_path: Path
) -> None:
    context = copy_of_the_checkout(tmp_path / "checkout")
    changed = context / "src/tgi_autoround/errors.py"
    changed.write_text(changed.read_text(encoding="utf-8") + f'\nCHANGED_AT = "{tmp_path}"\n', encoding="utf-8")
    started_s = time.monotonic()
    build_nvidia(torch_index, context, TAG)
    assert time.monotonic() - started_s < REBUILD_LIMIT_S
    probe = ("python", "-c", "from tgi_autoround.errors import CHANGED_AT; print(CHANGED_AT)")
    assert docker("run", "--rm", TAG, *probe).strip() == str(tmp_path)


def copy_of_the_checkout(target: Path) -> Path:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    if CUBINS.is_dir():
        shutil.copytree(CUBINS, target / CUBINS.relative_to(ROOT))
    return target
