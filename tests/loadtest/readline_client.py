"""The usual way to time streams with Locust, as the one to be compared with: readline on FastHttpUser's HTTP client."""

import time

import orjson
from geventhttpclient import HTTPClient


def read_stream(client: HTTPClient, path: str, body: bytes) -> tuple[list[int], list[int]]:
    """When each token came by the client's reading, and when it was emitted by its text, in CLOCK_MONOTONIC's ns."""
    response = client.post(path, body=body, headers={"Content-Type": "application/json"})
    read_ns, sent_ns = [], []
    while line := response.readline(b"\n\n"):
        now_ns = time.monotonic_ns()
        read_ns.append(now_ns)
        sent_ns.append(int(orjson.loads(line.strip()[5:])["token"]["text"]))
    return read_ns, sent_ns
