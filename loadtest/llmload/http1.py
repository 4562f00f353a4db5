"""The part of HTTP/1.1 that a load test needs: requests as bytes, and a response's end found while it arrives."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from urllib.parse import urlsplit

BLANK_LINE = b"\r\n\r\n"
_PORTS = {"http": 80, "https": 443}


class MalformedResponse(Exception):
    """What came is not HTTP/1.1."""


@dataclass(frozen=True)
class Target:
    """The server under test, and how to talk to it."""

    secure: bool
    host: str
    port: int
    base_path: str = ""
    api_key: str | None = None
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 300.0
    """Longest silence: after the request was sent, and between pieces of the answer."""

    @staticmethod
    def from_url(
        url: str, api_key: str | None = None, connect_timeout_s: float = 10.0, read_timeout_s: float = 300.0
    ) -> "Target":
        """Raises ValueError for anything but http://host[:port][/path] or https://..."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"The server's address is {url!r}; it has to be http://host:port or https://host:port")
        return Target(
            secure=parts.scheme == "https",
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            base_path=parts.path.rstrip("/"),
            api_key=api_key,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )

    def post(self, path: str, body: bytes) -> bytes:
        """The whole request. The key is sent as a bearer token, which TGI and OpenAI's servers ask for alike."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            f"POST {self.base_path}{path} HTTP/1.1",
            f"Host: {host}:{self.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream, application/json",
            "Accept-Encoding: identity",
            f"Content-Length: {len(body)}",
        ]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Response:
    """A response as the pieces that came out of the socket, in order; `Body` reads it once it is complete.

    While pieces arrive, only the end is looked for: parsing would delay the reading of other streams.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.complete = False
        self.raw = bytearray()
        self.data_spans: list[tuple[int, int]] = []
        """Where body data lies in `raw`: (start, end)."""
        self._joined_pieces = 0
        self._next = 0
        self._chunked = False
        self._length: int | None = None

    def take(self, pieces: Sequence[bytes]) -> bool:
        """Keep the pieces; whether the response is complete with them. Raises MalformedResponse."""
        self.pieces += pieces
        self._join()
        if self.status is None and not self._read_head():
            return False
        if self._chunked:
            self.complete = self._walk_chunks()
        elif self._length is not None:
            self.complete = len(self.raw) >= self._next + self._length
        if self.complete and not self._chunked:
            self.data_spans = [(self._next, len(self.raw))]
        return self.complete

    def take_end(self) -> bool:
        """The server closed the connection; whether the response is complete with that."""
        self._join()
        if self.status is not None and not self.complete:
            if self._chunked:
                self._walk_chunks()
            else:
                self.data_spans = [(self._next, len(self.raw))]
                self.complete = self._length is None
        return self.complete

    def salvage(self) -> None:
        """After a failure: make readable what arrived of the body, as far as it is HTTP."""
        with suppress(MalformedResponse):
            self.take_end()

    @property
    def chunked(self) -> bool:
        """Known once the head is there. A chunked body ends in a blank line, so what does not end in one can wait."""
        return self._chunked

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        bounded = self._chunked or self._length is not None
        return self.complete and bounded and self.headers.get("connection", "").lower() != "close"

    def _join(self) -> None:
        self.raw += b"".join(self.pieces[self._joined_pieces :])
        self._joined_pieces = len(self.pieces)

    def _read_head(self) -> bool:
        end = self.raw.find(BLANK_LINE)
        if end < 0:
            return False
        status_line, *header_lines = self.raw[:end].decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise MalformedResponse(f"the answer begins with {status_line[:80]!r}")
        for line in header_lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.status, self._next = int(rest[:3]), end + len(BLANK_LINE)
        self._read_framing()
        return True

    def _read_framing(self) -> None:
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length")
        if length is not None and not length.isdigit():
            raise MalformedResponse(f"Content-Length is {length!r}")
        self._length = 0 if self.status == 204 else int(length) if length else None

    def _walk_chunks(self) -> bool:
        """Step over the chunks that are whole; whether the last one is among them."""
        while (line_end := self.raw.find(b"\r\n", self._next)) >= 0:
            size = _chunk_size(self.raw[self._next : line_end])
            if size == 0:
                return self.raw.find(BLANK_LINE, line_end) >= 0
            start, end = line_end + 2, line_end + 2 + size
            if end + 2 > len(self.raw):
                return False
            self.data_spans.append((start, end))
            self._next = end + 2
        return False


def _chunk_size(line: bytearray) -> int:
    try:
        return int(line.partition(b";")[0] if b";" in line else line, 16)
    except ValueError:
        raise MalformedResponse(f"a chunk's size is {bytes(line[:20])!r}") from None


class Body:
    """The body of a response, and which piece brought each byte of it."""

    def __init__(self, response: Response) -> None:
        raw, spans = bytes(response.raw), response.data_spans
        self.data = b"".join(raw[start:end] for start, end in spans)
        self._piece_ends = list(accumulate(map(len, response.pieces)))
        self._spans = spans

    def pieces_of(self, ends: Iterator[int]) -> Iterator[int]:
        """For ascending offsets of bytes in `data` (each just past its last byte): the index of the piece with it."""
        span, before, piece = 0, 0, 0
        for end in ends:
            while end > before + self._spans[span][1] - self._spans[span][0]:
                before += self._spans[span][1] - self._spans[span][0]
                span += 1
            raw_end = self._spans[span][0] + end - before
            piece = bisect_left(self._piece_ends, raw_end, piece)
            yield piece
