"""The import directions of the package, read from its source: who may use whom, and who may use what from outside."""

import ast
import functools
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = Path(__file__).parents[1] / "src/tgi_autoround"
LAYERS = (
    "errors",
    "allocator",
    "checkpoint",
    "kernels",
    "linear",
    "composite",
    "experts",
    "names",
    "modeling",
    "engine",
    "server",
)
BELOW = {layer: set(LAYERS[:height]) for height, layer in enumerate(LAYERS)}
MAY_IMPORT = BELOW | {
    "tgi": BELOW["engine"] | {"quantize"},
    "quantize": {"errors", "checkpoint"},
    "inspection": {"errors", "checkpoint", "kernels"},
    "bench": {"errors", "checkpoint", "kernels"},
    "cli": {*LAYERS, "quantize", "inspection", "bench"},
    "__init__": set(),
}

# These layers run inside TGI's images, on what those hold.
OUTSIDE_OF_CORE = {
    "errors": set(),
    "allocator": set(),
    "checkpoint": {"torch", "safetensors"},
    "kernels": {"torch", "auto_round_kernel", "triton", "habana_frameworks"},
    "linear": {"torch"},
    "composite": {"torch"},
    "experts": {"torch", "transformers"},
    "names": {"transformers"},
    "modeling": {"torch", "safetensors", "transformers"},
    "tgi": {"torch", "safetensors", "transformers", "huggingface_hub", "typer", "text_generation_server", "loguru"},
}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(file: Path) -> Iterator[str]:
    """Absolute names of everything imported anywhere in the file, also inside functions."""
    package = ("tgi_autoround", *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join((*package[: len(package) + 1 - node.level], node.module or "")) if node.level else node.module
            )
            yield from (f"{base}.{name.name}" for name in node.names)


FILES = sorted(PACKAGE.rglob("*.py"))
CORE_FILES = [file for file in FILES if part_of(file) in OUTSIDE_OF_CORE]


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_part_imports_only_the_parts_below_it(file: Path) -> None:
    own = part_of(file)
    inside = [name.split(".") for name in imported_modules(file) if name.startswith("tgi_autoround.")]
    used = {parts[1] for parts in inside if (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").exists()}
    assert used - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize("file", CORE_FILES, ids=name_of)
def test_the_core_needs_only_what_the_images_of_tgi_hold(file: Path) -> None:
    outside = {name.split(".")[0] for name in imported_modules(file)} - set(sys.stdlib_module_names)
    assert outside - {"tgi_autoround"} <= OUTSIDE_OF_CORE[part_of(file)]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_auto_round_is_imported_by_quantize_alone_and_tgi_by_its_plugin_alone(file: Path) -> None:
    outside = {name.split(".")[0] for name in imported_modules(file)}
    assert "auto_round" not in outside or part_of(file) == "quantize"
    assert "text_generation_server" not in outside or part_of(file) == "tgi"


homes_of_modules = functools.cache(packages_distributions)


@functools.cache
def declared_distributions() -> set[str]:
    """What users get: the package's requirements and those of its extras, but for `dev`."""
    declared = [Requirement(text) for text in requires("tgi-autoround") or ()]
    return {
        canonicalize_name(requirement.name)
        for requirement in declared
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", "serve", "otlp", "quantize", "loadtest"))
    }


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_what_a_part_imports_from_outside_is_declared_and_not_there_by_chance(file: Path) -> None:
    """triton, Gaudi's software, TGI and its loguru are where the package runs, or parts that need them do not run."""
    homes = homes_of_modules()
    outside = {name.split(".")[0] for name in imported_modules(file)} - set(sys.stdlib_module_names)
    outside -= {"tgi_autoround", "triton", "habana_frameworks", "text_generation_server", "loguru"}
    undeclared = {name for name in outside if not declared_distributions() & set(map(canonicalize_name, homes[name]))}
    assert undeclared == set()
