"""Where a response ends and what its body is, against the standard library's reading of the same bytes."""

import http.client
import io
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.llmload.http1 import Body, MalformedResponse, Response, Target

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"data: one\n\n: comment\n\ndata: 0\r\n\r\ndata: three\n\n"


class _Socket:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._raw)


def read_by_the_standard_library(raw: bytes) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(_Socket(raw), method="POST")  # type: ignore[arg-type]
    response.begin()
    return response.status, response.read()


def chunked(body: bytes, sizes: list[int], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    bounds = [0, *sorted({min(size, len(body)) for size in sizes}), len(body)]
    parts = [body[start:end] for start, end in pairwise(bounds) if end > start]
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return CHUNKED + framed + b"0\r\n" + trailer + b"\r\n"


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place % len(raw) for place in places}), len(raw)]
    return [raw[start:end] for start, end in pairwise(bounds) if end > start]


@given(
    sizes=st.lists(st.integers(1, len(BODY)), max_size=6),
    places=st.lists(st.integers(0, 400), max_size=8),
    extension=st.sampled_from([b"", b";name=value"]),
    trailer=st.sampled_from([b"", b"Checksum: 1\r\n"]),
)
def test_a_chunked_body_is_whole_however_the_network_cut_it(
    sizes: list[int], places: list[int], extension: bytes, trailer: bytes
) -> None:
    raw = chunked(BODY, sizes, extension, trailer)
    response = Response()
    ends = [response.take([piece]) for piece in cut(raw, places)]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert (response.status, Body(response).data) == read_by_the_standard_library(raw)
    assert response.reusable


@given(places=st.lists(st.integers(0, 200), max_size=6), length=st.integers(0, 40))
def test_a_body_of_stated_length_ends_with_its_last_byte(places: list[int], length: int) -> None:
    raw = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\n\r\n" % length + BODY[:length]
    response = Response()
    ends = [response.take([piece]) for piece in cut(raw, places)]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert (response.status, Body(response).data) == read_by_the_standard_library(raw)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    response = Response()
    assert not response.take([b"HTTP/1.1 200 OK\r\n\r\nab", b"cd"])
    assert response.take_end()
    assert Body(response).data == b"abcd"
    assert not response.reusable


def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    response = Response()
    response.take([b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"])
    assert response.complete
    assert not response.reusable


@pytest.mark.parametrize(
    "raw", [CHUNKED + b"5\r\nab", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", b"HTTP/1.1 2"]
)
def test_a_body_cut_short_is_not_complete_when_the_connection_ends(raw: bytes) -> None:
    response = Response()
    assert not response.take([raw])
    assert not response.take_end()


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH\r\n\r\n", CHUNKED + b"xyz\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"]
)
def test_what_is_not_http_is_said_to_be_not_http(raw: bytes) -> None:
    with pytest.raises(MalformedResponse):
        Response().take([raw])


def test_each_byte_is_traced_to_the_piece_that_brought_it() -> None:
    """The second event is completed by the third piece, though it began in the second."""
    pieces = [CHUNKED + b"3\r\none\r\n", b"8\r\ntwot", b"hree\r\n0\r\n\r\n"]
    response = Response()
    response.take(pieces)
    body = Body(response)
    assert body.data == b"onetwothree"
    assert list(body.pieces_of(iter([3, 6, 7, 8, 11]))) == [0, 1, 1, 2, 2]


def test_an_address_has_its_parts_and_a_path_in_front() -> None:
    target = Target.from_url("https://[::1]/models/7b/", api_key="sk-1")
    assert (target.secure, target.host, target.port, target.base_path) == (True, "::1", 443, "/models/7b")
    head = target.post("/generate", b"{}")
    assert head.startswith(b"POST /models/7b/generate HTTP/1.1\r\nHost: [::1]:443\r\n")
    assert b"\r\nAuthorization: Bearer sk-1\r\n" in head
    assert head.endswith(b"\r\nContent-Length: 2\r\nAuthorization: Bearer sk-1\r\n\r\n{}")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        Target.from_url(url)
