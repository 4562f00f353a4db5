#!/usr/bin/env python3
"""What a release builds, read from docker/versions.json: the images, their tags, and the images they stand on.

    scripts/release_plan.py bases                 the images to stand on, by tag, one a line
    scripts/release_plan.py pin IMAGE DIGEST      write into the table which digest such a tag stands for
    scripts/release_plan.py matrix VERSION        the images of a release, as the matrix of a GitHub workflow

An image of the table that docker/Dockerfile has no target for yet is left out.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
VERSIONS = REPOSITORY / "docker/versions.json"
DOCKERFILE = REPOSITORY / "docker/Dockerfile"


@dataclass(frozen=True)
class Image:
    """`base` is an image by tag, with its digest once that is pinned; `argument` is what the Dockerfile calls it."""

    target: str
    tag: str
    argument: str
    base: str


def main() -> int:
    arguments = parse_arguments()
    table = json.loads(VERSIONS.read_text(encoding="utf-8"))
    if arguments.command == "bases":
        print("\n".join(sorted({image.base.partition("@")[0] for image in images(table, "")})))
    elif arguments.command == "pin":
        pin(table, arguments.image, arguments.digest)
        VERSIONS.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    else:
        check_version(arguments.version)
        print(json.dumps({"include": [asdict(image) for image in images(table, arguments.version)]}))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("bases")
    pinning = commands.add_parser("pin")
    pinning.add_argument("image")
    pinning.add_argument("digest")
    commands.add_parser("matrix").add_argument("version")
    return parser.parse_args()


def images(table: dict[str, Any], version: str) -> list[Image]:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return [image(table, name, version) for name in table["images"] if name in targets]


def image(table: dict[str, Any], name: str, version: str) -> Image:
    entry = table["images"][name]
    if "patch_set" not in entry:
        base = with_digest(table["cpu"]["base_image"], table["cpu"].get("digest"))
        return Image(name, f"{version}-{name}", entry["argument"], base)
    patches, release = table["patches"][entry["patch_set"]], entry["release"]
    base = with_digest(patches["image"].format(release=release), patches["digests"][release])
    return Image(name, f"{version}-tgi{release}-{name}", entry["argument"], base)


def with_digest(base: str, digest: str | None) -> str:
    return f"{base}@{digest}" if digest else base


def pin(table: dict[str, Any], base: str, digest: str) -> None:
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        sys.exit(f"{digest!r} is not the digest of an image; nothing was pinned for {base}.")
    pinned = False
    if table["cpu"]["base_image"] == base:
        table["cpu"]["digest"], pinned = digest, True
    for patches in table["patches"].values():
        for release in patches["digests"]:
            if patches["image"].format(release=release) == base:
                patches["digests"][release], pinned = digest, True
    if not pinned:
        sys.exit(f"{VERSIONS} does not list {base}; `bases` prints what it lists.")


def check_version(version: str) -> None:
    packaged = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if version != packaged:
        sys.exit(f"The release is to be {version}, and pyproject.toml says {packaged}. Tag the commit that says so.")


if __name__ == "__main__":
    sys.exit(main())
