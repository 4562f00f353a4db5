"""scripts/release_plan.py turns docker/versions.json into the images of a release."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ_BY_THE_PLAN = ("scripts/release_plan.py", "docker/versions.json", "docker/Dockerfile", "pyproject.toml")
DIGEST = "sha256:" + "ab" * 32
TGI = "ghcr.io/huggingface/text-generation-inference:3.3.7"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the plan is made from, free to be changed."""
    for name in READ_BY_THE_PLAN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def plan(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, repository / "scripts/release_plan.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def version(repository: Path) -> str:
    [found] = re.findall(r'^version = "(.*)"$', (repository / "pyproject.toml").read_text(), re.MULTILINE)
    return found


def planned_images(repository: Path) -> dict[str, dict[str, str]]:
    done = plan(repository, "matrix", version(repository))
    assert done.returncode == 0, done.stderr
    return {image["target"]: image for image in json.loads(done.stdout)["include"]}


def test_tags_name_the_version_the_release_of_tgi_and_the_image(repository: Path) -> None:
    images = planned_images(repository)
    assert images["nvidia"]["tag"] == f"{version(repository)}-tgi3.3.7-nvidia"
    assert images["quantize"]["tag"] == f"{version(repository)}-quantize"
    assert images["cpu"]["tag"] == f"{version(repository)}-cpu"


def test_without_digests_images_stand_on_what_the_dockerfile_names(repository: Path) -> None:
    dockerfile = (repository / "docker/Dockerfile").read_text()
    for image in planned_images(repository).values():
        assert f"ARG {image['argument']}={image['base']}\n" in dockerfile


def test_pinned_images_stand_on_their_digest(repository: Path) -> None:
    for base in plan(repository, "bases").stdout.split():
        assert plan(repository, "pin", base, DIGEST).returncode == 0
    assert {image["base"].partition("@")[2] for image in planned_images(repository).values()} == {DIGEST}
    table = json.loads((repository / "docker/versions.json").read_text())
    assert table["patches"]["tgi-3.3.7"]["digests"]["3.3.7"] == DIGEST
    assert table["patches"]["tgi-3.3.7"]["digests"]["3.3.6"] is None
    assert TGI in plan(repository, "bases").stdout.split()


@pytest.mark.parametrize(("base", "digest"), [(TGI, "latest"), (TGI, ""), ("debian:12", DIGEST)])
def test_what_cannot_be_pinned_is_refused(repository: Path, base: str, digest: str) -> None:
    before = (repository / "docker/versions.json").read_text()
    refused = plan(repository, "pin", base, digest)
    assert refused.returncode == 1
    assert base in refused.stderr
    assert (repository / "docker/versions.json").read_text() == before


def test_an_image_without_a_target_yet_is_left_out(repository: Path) -> None:
    path = repository / "docker/versions.json"
    table = json.loads(path.read_text())
    table["images"]["abacus"] = {"argument": "BASE_IMAGE"}
    path.write_text(json.dumps(table))
    assert "abacus" not in planned_images(repository)


def test_a_tag_that_is_not_the_version_of_the_package_is_refused(repository: Path) -> None:
    refused = plan(repository, "matrix", "99.0.0")
    assert refused.returncode == 1
    assert f"pyproject.toml says {version(repository)}" in refused.stderr
