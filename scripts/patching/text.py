"""Inserting lines into a file's text and taking them out again, every other byte as it was."""

import ast
import io

from patching.anchors import find_place
from patching.errors import Refused
from patching.patch_set import Insertion


def insert(text: str, insertions: list[Insertion]) -> str:
    """Raises Refused when an anchor is missing."""
    lines, file = split_lines(text), insertions[0].file
    module = parse(text, file)
    if not lines[-1].endswith(("\r", "\n")):
        raise Refused(f"{file}: the last line has no end, so nothing can be inserted after it.")
    places = [(find_place(module, insertion), insertion) for insertion in insertions]
    for place, insertion in sorted(places, key=lambda pair: pair[0].line, reverse=True):
        before = lines[place.line - 1]
        newline = before[len(before.rstrip("\r\n")) :]
        indent = " " * place.column
        lines[place.line : place.line] = [f"{indent}{line}{newline}" for line in insertion.lines]
    return "".join(lines)


def remove(text: str, insertions: list[Insertion]) -> tuple[str, int]:
    """The text without the inserted lines that are in it, and how many of `insertions` these were."""
    lines, removed = split_lines(text), 0
    for insertion in insertions:
        for start in range(len(lines)):
            end = start + len(insertion.lines)
            if _dedented(lines[start:end]) == list(insertion.lines):
                del lines[start:end]
                removed += 1
                break
    return "".join(lines), removed


def _dedented(lines: list[str]) -> list[str]:
    indent = len(lines[0]) - len(lines[0].lstrip(" "))
    return [line.rstrip("\r\n")[indent:] for line in lines]


def split_lines(text: str) -> list[str]:
    """With their ends; str.splitlines would also split at form feeds and the like, which are no line ends to Python."""
    return list(io.StringIO(text, newline=""))


def parse(text: str, file: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{file} is not Python: {error}") from error
