"""A server of scripted chat streams: what it sends, and when, is known to the millisecond."""

import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Pause:
    seconds: float


class Drop:
    """Close the connection without ending the body."""


Step = bytes | Pause | Drop


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def text(content: str, finish_reason: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}]})


def usage(prompt_tokens: int, completion_tokens: int) -> bytes:
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return event({"choices": [], "usage": counts})


DONE = b"data: [DONE]\n\n"


@contextmanager
def serving(
    script: Sequence[Step],
    raw_response: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    close_after: bool = False,
    connections: list[None] | None = None,
) -> Iterator[str]:
    """Answer every request with the script (or with these raw bytes); yields the base URL.

    `close_after` closes each connection after an answer; `connections` gets an entry for each that is opened.
    """

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            if connections is not None:
                connections.append(None)
            while _read_request(self.rfile):
                if raw_response is not None:
                    self.wfile.write(raw_response)
                elif not _play(script, self.wfile):
                    return
                if close_after:
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _read_request(stream: Any) -> bool:
    length = 0
    if not stream.readline():
        return False
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    stream.read(length)
    return True


def _play(script: Sequence[Step], stream: Any) -> bool:
    """Whether the connection can be used again."""
    stream.write(HEADERS)
    for step in script:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
        elif isinstance(step, Drop):
            return False
        else:
            stream.write(b"%x\r\n%s\r\n" % (len(step), step))
    stream.write(b"0\r\n\r\n")
    return True
