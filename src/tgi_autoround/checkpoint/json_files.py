"""JSON from files that anyone may have written: bounded in size and depth, without keys or numbers of two readings."""

import json
import reprlib
from pathlib import Path
from typing import Any

from tgi_autoround.errors import CheckpointError

MAX_DEPTH = 32
MAX_INTEGER_DIGITS = 100
MAX_BYTES = 64 * 2**20
"""The index of the largest models (100 000s of tensors) takes about a third of it."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
_short.maxlist = _short.maxtuple = 8


def show(value: Any) -> str:
    """Return `repr(value)`, cut to what an error message should hold."""
    return _short.repr(value)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds. Raises CheckpointError where it holds anything else."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; is this a model directory?") from error
    if len(content) > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than {MAX_BYTES} bytes; it is no configuration or index of a model")
    return parse_object(content, str(path))


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that `content` is; `where` names its place in error messages.

    Raises CheckpointError for what is no UTF-8, no JSON or no object, for a key that stands twice, for NaN, and for
    nesting or integers beyond any that a model's files need.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_int=_bounded_int,
            parse_constant=_constant,
        )
    except ValueError as error:
        raise CheckpointError(f"{where} is not valid JSON: {error}; download or write the file again") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} holds {show(value)}; it must hold a JSON object")
    _check_depth(value, where)
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {show(twice)} stands twice in one object")
    return content


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits, more than {MAX_INTEGER_DIGITS}")
    return int(digits)


def _constant(name: str) -> float:
    """transformers writes Infinity for open limits (`time_step_limit` of Mamba 2); NaN has no such use."""
    if name == "NaN":
        raise ValueError("NaN is not a number that JSON knows")
    return float(name)


def _check_depth(value: Any, where: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return
    raise _too_deep(where)


def _children(parent: Any) -> Any:
    return parent.values() if isinstance(parent, dict) else parent


def _too_deep(where: str) -> CheckpointError:
    return CheckpointError(f"{where} is nested more than {MAX_DEPTH} levels deep; it is no file of a model")
