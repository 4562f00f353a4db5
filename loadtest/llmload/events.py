"""Server-sent events of a body that has been received: the data of each, and where it ends."""

import re
from collections.abc import Iterator

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


def sse_data(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset just past the event, its data); comments, other fields and events without data are skipped.

    A last event without its blank line counts too: some servers end `[DONE]` with a single newline.
    """
    start = 0
    for blank in _BLANK_LINE.finditer(body):
        data = _data_of(body[start : blank.start()])
        start = blank.end()
        if data is not None:
            yield start, data
    rest = _data_of(body[start:])
    if rest is not None:
        yield len(body), rest


def _data_of(block: bytes) -> bytes | None:
    """The block's data lines, joined by newlines as the standard of server-sent events has it."""
    if block.startswith(b"data:") and b"\n" not in block and b"\r" not in block:
        return block[6:] if block[5:6] == b" " else block[5:]
    lines = []
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None
