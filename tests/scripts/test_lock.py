"""requirements.lock holds everything that the extras install, at the versions installed here."""

from importlib.metadata import distribution, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from environment import EXTRAS_TO_DEVELOP
from paths import LOCK

PACKAGE = "tgi-autoround"
LEFT_TO_TORCH = ("triton",)
"""Builds of torch for GPUs want the one that they were made with."""


def locked_versions() -> dict[str, str]:
    pins = [line.split("==") for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): pinned for name, pinned in pins}


def closure(name: str, extras: frozenset[str], seen: dict[str, frozenset[str]]) -> None:
    """Add to `seen` what installing `name` with `extras` brings here, with the extras asked for."""
    if extras <= seen.get(name, frozenset()) and name in seen:
        return
    seen[name] = seen.get(name, frozenset()) | extras
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            closure(canonicalize_name(requirement.name), frozenset(requirement.extras), seen)


def test_every_package_that_the_extras_bring_is_pinned_at_the_version_tested_here() -> None:
    seen: dict[str, frozenset[str]] = {}
    closure(PACKAGE, EXTRAS_TO_DEVELOP, seen)
    installed = {name: version(name).split("+")[0] for name in seen if name not in (PACKAGE, *LEFT_TO_TORCH)}
    pins = locked_versions()
    assert {name: pins.get(name) for name in installed} == installed


@pytest.mark.parametrize("name", ["torch", "transformers", "auto-round", "fastapi", "locust", "pytest"])
def test_what_matters_most_is_pinned(name: str) -> None:
    assert name in locked_versions()


def test_torch_is_pinned_without_the_build_it_was_locked_with() -> None:
    assert "+" not in LOCK.read_text()
