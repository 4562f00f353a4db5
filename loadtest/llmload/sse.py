"""Server-sent events, read as they arrive."""

from collections.abc import Iterator
from typing import Protocol


class LineReader(Protocol):
    def readline(self, sep: bytes) -> bytes:
        """The next line with its separator, or b"" at the end of the body."""


def event_data(response: LineReader) -> Iterator[bytes]:
    """Yield the data of each event as soon as its line is complete; comments and other fields are skipped.

    `iter_lines` of Locust's clients would wait for a full block of 1 KiB, which delays the first tokens.
    """
    while line := response.readline(b"\n"):
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        if field == b"data":
            yield value.removeprefix(b" ")
