"""What to insert where (patches/NAME/manifest.json), and the files it was verified on (docker/versions.json)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patching.errors import Unusable

FIRST_STATEMENT, LAST_MEMBER = PLACES = ("first statement", "last member")


@dataclass(frozen=True)
class Meaning:
    """What has to be true of the patched file: an enum's member, or a call of the hooks and the use of its result."""

    member: tuple[str, str] | None
    calls: str | None
    assigns: tuple[str, ...]
    returns: bool


@dataclass(frozen=True)
class Insertion:
    """`lines` go into `scope` ("class A", "def f", "def A.f") at one of PLACES."""

    file: str
    scope: str
    at: str
    lines: tuple[str, ...]
    meaning: Meaning


@dataclass(frozen=True)
class PatchSet:
    """`flavour_path` exists in the servers this set is for and in no other.

    `known` maps a file to the sha256 of its contents, or to "absent", to the releases where it is so.
    """

    name: str
    package: str
    flavour: str
    flavour_path: str
    insertions: tuple[Insertion, ...]
    known: dict[str, dict[str, list[str]]]

    def files(self) -> list[str]:
        return list(dict.fromkeys(insertion.file for insertion in self.insertions))

    def releases_with(self, file: str, contents: str) -> frozenset[str]:
        """`contents` is a sha256 or "absent"."""
        return frozenset(self.known.get(file, {}).get(contents, ()))

    def insertions_into(self, file: str) -> list[Insertion]:
        return [insertion for insertion in self.insertions if insertion.file == file]


def read_patch_set(folder: Path, versions: Path) -> PatchSet:
    """Raises Unusable when either file is missing or malformed."""
    manifest = _read_json(folder / "manifest.json")
    try:
        return PatchSet(
            name=folder.name,
            package=manifest["package"],
            flavour=manifest["flavour"]["name"],
            flavour_path=manifest["flavour"]["has"],
            insertions=tuple(_insertion(entry) for entry in manifest["insertions"]),
            known=_read_json(versions)["patches"].get(folder.name, {}).get("sha256", {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise Unusable(
            f"{folder}/manifest.json or {versions} lacks an entry or has one of another type: {error!r}"
        ) from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unusable(f"{file} cannot be read: {error}") from error


def _insertion(entry: dict[str, Any]) -> Insertion:
    then = entry["then"]
    if entry["at"] not in PLACES:
        raise Unusable(f"{entry['at']!r} is no place that lines can be inserted at; there are {PLACES}.")
    return Insertion(
        file=entry["file"],
        scope=entry["into"],
        at=entry["at"],
        lines=tuple(entry["lines"]),
        meaning=Meaning(
            member=(then["member"], then["is"]) if "member" in then else None,
            calls=then.get("calls"),
            assigns=tuple(then.get("assigns", ())),
            returns=then.get("returns", False),
        ),
    )
