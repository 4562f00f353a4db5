"""An installed server package: where it is, and whether its files are the ones that a patch set is for."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from patching.errors import Refused, Unusable
from patching.meaning import check_meaning
from patching.patch_set import PatchSet
from patching.text import insert, remove

ABSENT = "absent"


@dataclass(frozen=True)
class TargetFile:
    """A file as it is and as upstream made it; `releases` are those verified ones that have it so."""

    name: str
    path: Path
    current: str
    original: str
    releases: frozenset[str]

    @property
    def sha256(self) -> str:
        return sha256(self.original)


@dataclass(frozen=True)
class ServerTree:
    """`releases` are those verified ones that have just these files; `patched` holds by name what each is to become."""

    root: Path
    patch_set: PatchSet
    files: tuple[TargetFile, ...]
    releases: tuple[str, ...]
    patched: dict[str, str]

    @property
    def unpatched(self) -> list[TargetFile]:
        return [file for file in self.files if file.current != self.patched[file.name]]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def find_package(name: str) -> Path:
    """The folder of an importable package, found without importing it. Raises Unusable."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unusable(
            f"This Python has no package {name}. Run the script with the server's Python (in TGI's NVIDIA image:"
            " /usr/src/.venv/bin/python), or name the package's folder with --root."
        )
    return Path(spec.submodule_search_locations[0])


def examine(root: Path, patch_set: PatchSet, *, allow_unknown: bool) -> ServerTree:
    """Raises Refused unless every file is one that the patch set is for and means the right thing when patched."""
    if not root.is_dir():
        raise Unusable(f"{root} is not a folder.")
    if not (root / patch_set.flavour_path).exists():
        raise Refused(
            f"{root} is not {patch_set.flavour}: it has no {patch_set.flavour_path}."
            f" {patch_set.name} is for that server only; take the patch set of yours."
        )
    absent = [name for name in patch_set.files() if _may_be_absent(root, name, patch_set)]
    files = tuple(_find_file(root, name, patch_set) for name in patch_set.files() if name not in absent)
    found = {file.name: file.releases for file in files}
    found |= {name: patch_set.releases_with(name, ABSENT) for name in absent}
    releases = tuple(sorted(frozenset.intersection(*found.values())))
    if not allow_unknown:
        _refuse_unknown(root, patch_set, found)
    return ServerTree(root, patch_set, files, releases, {file.name: _patch(file, patch_set) for file in files})


def _may_be_absent(root: Path, name: str, patch_set: PatchSet) -> bool:
    return not (root / name).exists() and bool(patch_set.releases_with(name, ABSENT))


def _find_file(root: Path, name: str, patch_set: PatchSet) -> TargetFile:
    path = (root / name).resolve()
    if not path.exists():
        raise Refused(f"{root} has no {name}: it is of no release that {patch_set.name} was verified on.")
    current = _read(path)
    insertions = patch_set.insertions_into(name)
    original, found = remove(current, insertions)
    if found not in (0, len(insertions)):
        raise Refused(
            f"{name} has {found} of the {len(insertions)} insertions of {patch_set.name}: it was patched otherwise, or"
            " in part. Start from a freshly installed server."
        )
    return TargetFile(name, path, current, original, patch_set.releases_with(name, sha256(original)))


def _refuse_unknown(root: Path, patch_set: PatchSet, found: dict[str, frozenset[str]]) -> None:
    unknown = [name for name, releases in found.items() if not releases]
    advice = "docs/upgrading.md says how to verify another release; --allow-unknown patches without that."
    if unknown:
        raise Refused(f"{patch_set.name} was not verified on {', '.join(unknown)} as in {root}. {advice}")
    if not frozenset.intersection(*found.values()):
        of = "; ".join(f"{name} of {', '.join(sorted(releases))}" for name, releases in found.items())
        raise Refused(f"The files in {root} are of different releases: {of}. {advice}")


def _patch(file: TargetFile, patch_set: PatchSet) -> str:
    insertions = patch_set.insertions_into(file.name)
    patched = insert(file.original, insertions)
    if file.current not in (file.original, patched):
        raise Refused(f"{file.name} has the insertions of {patch_set.name} in other places than they belong.")
    for insertion in insertions:
        check_meaning(patched, insertion)
    return patched


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path} cannot be read: {error}") from error
