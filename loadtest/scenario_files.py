"""Scenario files: found by name or path, checked, and told apart from what they refer to."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from loadtest.checked import checked
from loadtest.errors import LoadTestError
from loadtest.scenario import Arrivals, Closed, Model, Part, Rate, Scenario, Search, Workload

SCENARIOS = Path(__file__).with_name("scenarios")


class MixEntry(Model):
    """A part of a mixed scenario: another scenario's workload."""

    scenario: str
    weight: Rate = 1


class Head(Model):
    """What a file says apart from its workload."""

    description: str
    tags: tuple[str, ...] = ()
    arrivals: Arrivals = Closed(process="closed")
    duration_s: float = Field(default=60, gt=0)
    warmup_s: float = Field(default=0, ge=0)
    search: Search | None = None
    mix: tuple[MixEntry, ...] = ()


def scenario_names() -> list[str]:
    """Names of the scenarios that come with the load test."""
    return sorted(file.stem for file in SCENARIOS.glob("*.yaml"))


def load_scenario(
    name_or_file: str,
    overrides: Sequence[str] = (),
    tags: Sequence[str] = (),
    exclude_tags: Sequence[str] = (),
) -> Scenario:
    """Read a scenario; `overrides` are KEY=VALUE with dotted keys, tags choose among its parts.

    Raises LoadTestError, naming the file and the key, for anything that does not fit the schema.
    """
    file = _find(name_or_file)
    content = _read(file)
    for override in overrides:
        _override(content, override)
    head, parts = _head_and_parts(file, content)
    chosen = [part for part in parts if _chosen(part, set(tags), set(exclude_tags))]
    if not chosen:
        known = sorted({tag for part in parts for tag in part.tags})
        raise LoadTestError(f"No part of the scenario {file.stem} is left by --tags; its parts have the tags {known}.")
    fields = {name: getattr(head, name) for name in ("description", "arrivals", "duration_s", "warmup_s", "search")}
    return checked(Scenario, {"name": file.stem, "parts": chosen, "folder": str(file.parent), **fields}, file)


def _find(name_or_file: str) -> Path:
    if name_or_file.endswith((".yaml", ".yml")) or os.sep in name_or_file:
        file = Path(name_or_file).absolute()
        if not file.is_file():
            raise LoadTestError(f"There is no scenario file {file}.")
        return file
    if name_or_file in scenario_names():
        return SCENARIOS / f"{name_or_file}.yaml"
    raise LoadTestError(
        f"There is no scenario {name_or_file!r}. Those that exist: {', '.join(scenario_names())}; "
        "a file of your own is given by its path, ending in .yaml."
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LoadTestError(f"The scenario {file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise LoadTestError(f"The scenario {file} has to be a YAML mapping, such as those in {SCENARIOS}.")
    return content


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise LoadTestError(f"--set {override}: write it as KEY=VALUE, for example arrivals.users=4.")
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise LoadTestError(f"--set {override}: {parent} holds {place!r}, which has no keys.")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise LoadTestError(f"--set {override}: the value is not YAML: {error}") from error


def _head_and_parts(file: Path, content: Mapping[str, Any]) -> tuple[Head, list[Part]]:
    head = checked(Head, {key: value for key, value in content.items() if key in Head.model_fields}, file)
    workload = {key: value for key, value in content.items() if key not in Head.model_fields}
    if not head.mix:
        part = Part(name=file.stem, tags=head.tags, workload=checked(Workload, workload, file))
        return head, [part]
    if workload:
        raise LoadTestError(f"{file.name}: with mix, the parts say {', '.join(workload)}; leave them out here.")
    return head, [_part(file, entry) for entry in head.mix]


def _part(mixed: Path, entry: MixEntry) -> Part:
    beside = mixed.parent / entry.scenario
    file = _find(str(beside) if beside.suffix in (".yaml", ".yml") else entry.scenario)
    content = _read(file)
    if content.get("mix"):
        raise LoadTestError(f"{mixed.name}: {entry.scenario} is a mix itself; name its parts instead.")
    _, (part,) = _head_and_parts(file, content)
    return part.model_copy(update={"weight": entry.weight})


def _chosen(part: Part, tags: set[str], exclude_tags: set[str]) -> bool:
    return (not tags or bool(tags & set(part.tags))) and not exclude_tags & set(part.tags)
