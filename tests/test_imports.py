"""The import directions of the package, read from its source: who may use whom, and who may use what from outside."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/tgi_autoround"
LAYERS = ("errors", "checkpoint", "kernels", "linear", "modeling", "engine", "server")
BELOW = {layer: set(LAYERS[:height]) for height, layer in enumerate(LAYERS)}
MAY_IMPORT = BELOW | {
    "tgi": {"errors", "checkpoint", "kernels", "linear", "modeling"},
    "quantize": {"errors", "checkpoint"},
    "cli": {*LAYERS, "quantize"},
    "__init__": set(),
}

# These layers run inside TGI's images, on what those hold.
OUTSIDE_OF_CORE = {
    "errors": set(),
    "checkpoint": {"torch", "safetensors"},
    "kernels": {"torch", "auto_round_kernel", "triton"},
    "linear": {"torch"},
    "modeling": {"torch", "safetensors", "transformers"},
    "tgi": {"torch", "safetensors", "transformers", "text_generation_server"},
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
