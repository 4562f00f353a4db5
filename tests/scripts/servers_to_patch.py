"""Copies of the stand-in for TGI's server, tables of known files made for them, and the tool run on them."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/apply_patches.py"
PATCH_SET = ROOT / "patches/tgi-3.3.7"
GAUDI_PATCH_SET = ROOT / "patches/tgi-3.3.7-gaudi"
SKELETON = ROOT / "tests/tgi/skeleton/text_generation_server"
APPLIED, REFUSED, USAGE, FAILED = 0, 1, 2, 3


def insertions_of(patch_set: Path) -> list[dict[str, Any]]:
    return json.loads((patch_set / "manifest.json").read_text())["insertions"]


def files_of(patch_set: Path) -> list[str]:
    return sorted({insertion["file"] for insertion in insertions_of(patch_set)})


FILES = files_of(PATCH_SET)


@dataclass(frozen=True)
class Server:
    """A server's package in `root`, and the table that knows its files as they were when `know` was called."""

    root: Path
    versions: Path
    patch_set: Path

    def know(self) -> None:
        self.know_as({name: {sha256(self.root / name): ["9.9.9"]} for name in files_of(self.patch_set)})

    def know_as(self, known: dict[str, dict[str, list[str]]]) -> None:
        self.versions.write_text(json.dumps({"patches": {self.patch_set.name: {"sha256": known}}}))

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.root / name
        before = path.read_bytes().decode()
        after = change(before)
        assert after != before, f"the change of {name} changed nothing"
        path.write_bytes(after.encode())

    def contents(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def run(self, command: str, *options: str, before_start: Callable[[], object] | None = None) -> "Outcome":
        arguments = [command, str(self.patch_set), "--root", str(self.root), "--versions", str(self.versions), *options]
        return run_script(*arguments, before_start=before_start)


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str
    errors: str


def new_server(folder: Path, patch_set: Path = PATCH_SET) -> Server:
    root = folder / "text_generation_server"
    shutil.copytree(SKELETON, root, ignore=shutil.ignore_patterns("__pycache__"))
    if patch_set == GAUDI_PATCH_SET:
        (root / "layers/attention/cuda.py").rename(root / "layers/attention/hpu.py")
    server = Server(root, folder / "versions.json", patch_set)
    server.know()
    return server


def run_script(*arguments: str, before_start: Callable[[], object] | None = None, **options: object) -> Outcome:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, preexec_fn=before_start, timeout=60, **options
    )
    # Decoded here, because a text stream would translate line ends.
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
