"""Prompts of the user's own: JSON lines, or ShareGPT's format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from loadtest.errors import LoadTestError
from loadtest.prompts.talk import Talk

SHAREGPT_HUMANS = {"human", "user"}


def jsonl_talks(file: Path, field: str) -> list[Talk]:
    """Read one talk a line: the text under `field`, or what the user says in `messages`.

    Raises LoadTestError, naming file and line, for anything else.
    """
    return [_talk_of(row, field, f"{file}, line {number}") for number, row in _json_lines(file)]


def sharegpt_talks(file: Path) -> list[Talk]:
    """Read the humans' side of a ShareGPT file (a JSON list, or JSON lines); talks without one are left out.

    Raises LoadTestError where the file has another format, or no human in it.
    """
    content = _read(file).lstrip()
    rows = _parsed(content, str(file)) if content.startswith(b"[") else [row for _, row in _json_lines(file)]
    talks = [
        Talk(turns) for number, row in enumerate(rows, 1) if (turns := _human_turns(row, f"{file}, talk {number}"))
    ]
    if not talks:
        raise LoadTestError(f"{file} holds no conversation in which a human says something.")
    return talks


def _talk_of(row: Any, field: str, place: str) -> Talk:
    if not isinstance(row, dict):
        raise LoadTestError(f'{place}: a JSON object is needed, such as {{"{field}": "..."}}.')
    if isinstance(text := row.get(field), str) and text:
        return Talk((text,))
    turns = _turns(row.get("messages"), {"user"}, "role", "content", place)
    if not turns:
        raise LoadTestError(f"{place}: neither a text under {field!r} nor messages of a user; it has {sorted(row)}.")
    return Talk(turns)


def _human_turns(row: Any, place: str) -> tuple[str, ...]:
    if not isinstance(row, dict) or "conversations" not in row:
        raise LoadTestError(f"{place}: ShareGPT's format has a list under 'conversations'.")
    return _turns(row["conversations"], SHAREGPT_HUMANS, "from", "value", place)


def _turns(entries: Any, speakers: set[str], speaker_key: str, text_key: str, place: str) -> tuple[str, ...]:
    try:
        said = [entry[text_key] for entry in entries or () if entry[speaker_key] in speakers]
    except (KeyError, TypeError) as error:
        raise LoadTestError(f"{place}: each message needs {speaker_key!r} and {text_key!r}.") from error
    return tuple(text for text in said if isinstance(text, str) and text.strip())


def _json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    lines = [(number, line) for number, line in enumerate(_read(file).splitlines(), 1) if line.strip()]
    if not lines:
        raise LoadTestError(f"{file} is empty; one JSON object a line is needed.")
    for number, line in lines:
        yield number, _parsed(line, f"{file}, line {number}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise LoadTestError(f"The prompts {file} cannot be read: {error.strerror}.") from error


def _parsed(text: bytes, place: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise LoadTestError(f"{place} is no JSON: {error}.") from error
