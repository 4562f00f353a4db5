"""Connections against servers whose timings and faults are scripted; over plain HTTP and over TLS alike."""

import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest

from loadtest.llmload.client import Client
from loadtest.llmload.record import ErrorKind
from loadtest.llmload.transport import tls_context
from tests.loadtest.asking import REQUEST, ask, client_of
from tests.loadtest.scripted_server import DONE, Drop, Pause, Step, serving, text, usage

TOLERANCE_S = 0.03
SELF_SIGNED = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
)
ANSWER: list[Step] = [text("a"), Pause(0.05), text("b", "stop"), usage(5, 2), DONE]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    subprocess.run([*SELF_SIGNED.split(), *files], check=True, capture_output=True)
    return folder


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext | None:
    """The server's side of TLS, or None for plain HTTP; the client trusts the server's certificate."""
    if request.param == "http":
        return None
    tls_context.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def test_arrivals_are_those_of_the_server(tls: ssl.SSLContext | None) -> None:
    pauses_s = (0.20, 0.10, 0.05)
    script = [step for pause_s in pauses_s for step in (Pause(pause_s), text("word"))]
    with serving([*script, text("", "stop"), usage(5, 3), DONE], tls=tls) as url, client_of(url) as client:
        sent_s = client.send(REQUEST)[0].sent_s  # the first one pays for connecting
        records = [client.send(REQUEST)[0] for _ in range(3)]
    assert [record.error for record in records] == [None, None, None]
    assert records[0].sent_s > sent_s
    # Whoever else uses the processor makes times longer, never shorter.
    record = min(records, key=lambda record: record.end_s - record.sent_s)
    assert record.first_token_s is not None
    assert record.first_token_s - record.sent_s == pytest.approx(0.20, abs=TOLERANCE_S)
    assert record.gaps_s == pytest.approx([0.10, 0.05], abs=TOLERANCE_S)
    assert record.end_s - record.sent_s == pytest.approx(0.35, abs=2 * TOLERANCE_S)
    expected = "kernel" if tls is None and sys.platform == "linux" else "userspace"
    assert record.transport == expected


def test_an_untrusted_certificate_is_no_connection(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    tls_context.cache_clear()
    with serving(ANSWER, tls=context) as url:
        record = ask(url)
    assert record.error_kind is ErrorKind.CONNECT
    assert "certificate" in (record.error or "")


def test_the_kernels_stamps_do_not_wait_for_a_busy_client() -> None:
    """The client sleeps (natively, not in gevent) over the first token's arrival and reads it 150 ms late."""

    def hog() -> None:
        gevent.sleep(0.05)
        time.sleep(0.20)

    with serving([Pause(0.10), text("a", "stop"), usage(1, 1), DONE]) as url, client_of(url) as client:
        busy = gevent.spawn(hog)
        record = client.send(REQUEST)[0]
        busy.join()
    assert record.first_token_s is not None
    assert record.first_token_s - record.sent_s == pytest.approx(0.10, abs=TOLERANCE_S)


def test_tokens_that_waited_in_the_socket_together_are_counted_as_coalesced() -> None:
    def hog() -> None:
        gevent.sleep(0.05)
        time.sleep(0.25)

    script = [Pause(0.10), text("a"), Pause(0.05), text("b"), Pause(0.25), text("c", "stop"), usage(1, 3), DONE]
    with serving(script) as url, client_of(url) as client:
        busy = gevent.spawn(hog)
        record = client.send(REQUEST)[0]
        busy.join()
    assert record.coalesced_gaps == 1
    assert record.gaps_s[0] == 0.0
    assert record.gaps_s[1] == pytest.approx(0.25, abs=TOLERANCE_S)


def test_the_connection_is_kept_for_the_next_request(tls: ssl.SSLContext | None) -> None:
    connections: list[None] = []
    with serving(ANSWER, tls=tls, connections=connections) as url, client_of(url) as client:
        records = [client.send(REQUEST)[0] for _ in range(3)]
    assert [record.error for record in records] == [None] * 3
    assert len(connections) == 1


def test_a_connection_closed_while_idle_is_opened_again(tls: ssl.SSLContext | None) -> None:
    with serving(ANSWER, tls=tls, close_after=True) as url, client_of(url) as client:
        records = []
        for _ in range(3):
            records.append(client.send(REQUEST)[0])
            gevent.sleep(0.05)
    assert [record.error for record in records] == [None] * 3


def test_a_connection_beyond_the_first_thousand_is_kept_and_used_again() -> None:
    """Descriptors from 1024 on are out of select()'s reach."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with serving(ANSWER) as url, client_of(url) as client:
            records = [client.send(REQUEST)[0] for _ in range(2)]
    finally:
        for file in opened:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [record.error for record in records] == [None, None]


def test_a_server_that_is_not_there_is_no_connection() -> None:
    with serving([]) as url:
        pass
    record = ask(url)
    assert record.error_kind is ErrorKind.CONNECT
    assert record.status is None


def test_a_server_that_takes_no_connections_is_a_connect_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for filler in waiting:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        record = ask(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=0.3)
        for filler in waiting:
            filler.close()
    assert record.error_kind is ErrorKind.CONNECT_TIMEOUT
    assert record.end_s - record.sent_s == pytest.approx(0.3, abs=0.2)


def test_silence_is_a_read_timeout_that_counts_from_the_last_token(tls: ssl.SSLContext | None) -> None:
    script = [Pause(0.2), text("a"), Pause(0.2), text("b"), Pause(2), text("c", "stop"), usage(1, 3), DONE]
    with serving(script, tls=tls) as url:
        record = ask(url, read_timeout_s=0.3)
    assert record.error_kind is ErrorKind.READ_TIMEOUT
    assert len(record.gaps_s) == 1
    assert record.end_s - record.sent_s == pytest.approx(0.7, abs=0.15)


def test_a_connection_lost_in_the_middle_is_a_disconnect_and_keeps_what_came(tls: ssl.SSLContext | None) -> None:
    with serving([text("a"), Pause(0.05), text("b"), Drop()], tls=tls) as url:
        record = ask(url)
    assert record.error_kind is ErrorKind.DISCONNECT
    assert len(record.gaps_s) == 1
    assert record.first_token_s is not None


def test_a_connection_closed_before_any_answer_is_a_disconnect() -> None:
    with serving([], raw_response=b"", close_after=True) as url:
        record = ask(url)
    assert record.error_kind is ErrorKind.DISCONNECT
    assert "after 0 bytes" in (record.error or "")


def test_an_answer_that_is_not_http_is_a_protocol_error() -> None:
    with serving([], raw_response=b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as url:
        record = ask(url)
    assert record.error_kind is ErrorKind.PROTOCOL


def test_an_answer_larger_than_one_read_is_whole(tls: ssl.SSLContext | None) -> None:
    long_text = "word " * 20_000
    with serving([text(long_text, "stop"), usage(1, 20_000), DONE], tls=tls) as url, client_of(url) as client:
        record, answer = client.send(REQUEST)
    assert record.error is None
    assert answer == long_text


def test_a_body_that_ends_with_the_connection_is_an_answer() -> None:
    body = text("a", "stop") + usage(1, 1) + DONE
    with serving([], raw_response=b"HTTP/1.1 200 OK\r\n\r\n" + body, close_after=True) as url:
        record = ask(url)
    assert record.error is None


def test_a_request_cut_by_the_runs_end_is_recorded_as_stopped(tls: ssl.SSLContext | None) -> None:
    with serving([text("a"), Pause(1), text("b", "stop"), usage(1, 2), DONE], tls=tls) as url, client_of(url) as client:
        sending: gevent.Greenlet[[Client], object] = gevent.spawn(client.send, REQUEST)
        gevent.sleep(0.3)
        sending.kill()
        record = sending.value[0]
    assert record.error_kind is ErrorKind.STOPPED
    assert record.first_token_s is not None
    assert record.end_s - record.sent_s < 0.8
