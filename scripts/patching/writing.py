"""Writing the patched files: all of them or none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patching.errors import Unusable
from patching.server_tree import ServerTree, TargetFile


def write(tree: ServerTree) -> None:
    """Patch every file that is not, or none. Compiled files need no care: Python compares their source's size and time.

    Raises Unusable when a file cannot be written; all are then as before.
    """
    try:
        with _staged(tree) as staged:
            _replace_all(staged)
    except OSError as error:
        place = error.filename or tree.root
        raise Unusable(f"{place} cannot be written: {error.strerror}. No file was changed.") from error


@contextmanager
def _staged(tree: ServerTree) -> Iterator[list[tuple[Path, TargetFile]]]:
    """The new texts in files beside their targets, so that taking their place is one rename each."""
    staged = [(file.path.with_name(f".{file.path.name}.patched"), file) for file in tree.unpatched]
    try:
        for temporary, file in staged:
            _write_like(file.path, temporary, tree.patched[file.name])
        yield staged
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


def _write_like(model: Path, target: Path, text: str) -> None:
    with target.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
    shutil.copymode(model, target)


def _replace_all(staged: list[tuple[Path, TargetFile]]) -> None:
    replaced: list[tuple[Path, TargetFile]] = []
    try:
        for temporary, file in staged:
            temporary.replace(file.path)
            replaced.append((temporary, file))
    except OSError:
        for temporary, file in replaced:
            _write_like(file.path, temporary, file.original)
            temporary.replace(file.path)
        raise
