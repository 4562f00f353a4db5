"""Server-sent events of a body that has been received: the data of each, and where it ends."""

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def sse_data(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset just past the event, its data); comments, other fields and events without data are skipped.

    A last event without its blank line counts too: some servers end `[DONE]` with a single newline.
    """
    for end, block in _blocks(body):
        if block.startswith(b"data:") and b"\n" not in block and b"\r" not in block:
            yield end, block[6:] if block[5:6] == b" " else block[5:]
        else:
            lines = list(_data_lines(block))
            if lines:
                yield end, b"\n".join(lines)


def _blocks(body: bytes) -> Iterator[tuple[int, bytes]]:
    """What stands between blank lines, and where each block ends with its blank line."""
    end = 0
    if b"\r" not in body:  # three times as fast as the expression, and what every server but a few sends
        for block in body.split(b"\n\n"):
            end += len(block) + 2
            yield min(end, len(body)), block
        return
    start = 0
    for blank in _BLANK_LINE.finditer(body):
        yield blank.end(), body[start : blank.start()]
        start = blank.end()
    yield len(body), body[start:]


def _data_lines(block: bytes) -> Iterator[bytes]:
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        if field == b"data":
            yield value.removeprefix(b" ")
