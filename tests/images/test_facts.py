"""docker/versions.json is the one table of facts; what has to repeat a fact agrees with it. Needs no docker."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
VERSIONS = json.loads((ROOT / "docker/versions.json").read_text())
CPU = VERSIONS["cpu"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()


def test_the_dockerfile_builds_on_the_base_image_of_the_table() -> None:
    assert f"ARG BASE_IMAGE={CPU['base_image']}\n" in DOCKERFILE
    assert f"ARG TORCH_INDEX={CPU['torch_index']}\n" in DOCKERFILE


def test_the_lock_holds_the_torch_of_the_table() -> None:
    assert f"\ntorch=={CPU['torch']}\n" in (ROOT / "requirements.lock").read_text()


def test_every_variable_of_the_compose_files_is_explained_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    used = set(re.findall(r"\$\{(\w+)", "".join(file.read_text() for file in ROOT.glob("compose/*.yaml"))))
    assert used
    assert {name for name in used if f"#{name}=" not in example} == set()


def test_compose_includes_every_file_of_its_folder() -> None:
    included = yaml.safe_load((ROOT / "compose.yaml").read_text())["include"]
    assert sorted(included) == sorted(f"compose/{file.name}" for file in ROOT.glob("compose/*.yaml"))


def test_the_nvidia_image_is_built_on_the_release_of_the_table_with_its_patch_set() -> None:
    entry = VERSIONS["images"]["nvidia"]
    image = VERSIONS["patches"][entry["patch_set"]]["image"].format(release=entry["release"])
    assert f"ARG {entry['argument']}={image}\n" in DOCKERFILE
    assert f"ARG PATCH_SET={entry['patch_set']}\n" in DOCKERFILE
    assert f"${{TGI_IMAGE:-{image}}}" in (ROOT / "compose/nvidia.yaml").read_text()
