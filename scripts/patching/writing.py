"""Writing the patched files: all of them or none."""

import shutil
import tempfile
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
    staged: list[tuple[Path, TargetFile]] = []
    try:
        for file in tree.unpatched:
            staged.append((_write_beside(file.path, tree.patched[file.name]), file))
        yield staged
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)


def _write_beside(target: Path, text: str) -> Path:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as stream:
        stream.write(text)
    shutil.copymode(target, stream.name)
    return Path(stream.name)


def _replace_all(staged: list[tuple[Path, TargetFile]]) -> None:
    replaced: list[TargetFile] = []
    try:
        for temporary, file in staged:
            temporary.replace(file.path)
            replaced.append(file)
    except OSError:
        for file in replaced:
            _write_beside(file.path, file.original).replace(file.path)
        raise
