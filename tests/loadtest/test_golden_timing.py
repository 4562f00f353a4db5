"""What the client measures against what really happened: every token carries the time at which it was emitted.

How exact a client can be depends on what else the machine does, so the gate is the ratio to the usual client in turns
in the same run; the absolute errors are printed (pytest -s).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import gevent
import pytest
from geventhttpclient import HTTPClient

from loadtest.llmload.client import Client, Sender
from loadtest.llmload.clock import RunClock
from loadtest.llmload.http1 import Target
from loadtest.llmload.record import Record
from loadtest.llmload.request import ProtocolName
from loadtest.mock.emitter import build_emitter, emitted_ns, emitting
from tests.loadtest.asking import REQUEST
from tests.loadtest.readline_client import read_stream

STREAMS = 64
ITL_S = 0.05
TOKENS = 20
ROUNDS = 3


@dataclass(frozen=True)
class Errors:
    """Measured minus true, absolute, in seconds."""

    first: list[float]
    gaps: list[float]

    @staticmethod
    def of(measured: list[list[int]], true: list[list[int]]) -> "Errors":
        return Errors(
            [abs(ours[0] - theirs[0]) / 1e9 for ours, theirs in zip(measured, true, strict=True)],
            [
                abs((b - a) - (d - c)) / 1e9
                for ours, theirs in zip(measured, true, strict=True)
                for (a, b), (c, d) in zip(pairwise(ours), pairwise(theirs), strict=True)
            ],
        )


def p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def staggered(stream: Callable[[int], object]) -> list[object]:
    """All streams at once, their tokens spread evenly over the time between two of one stream."""
    greenlets = [gevent.spawn_later(number * ITL_S / STREAMS, stream, number) for number in range(STREAMS)]
    return [greenlet.get() for greenlet in greenlets]


def by_us(url: str, protocol: ProtocolName) -> tuple[Errors, list[Record]]:
    clock = RunClock(time.time_ns())

    def stream(number: int) -> tuple[Record, str]:
        client = Client(Target.from_url(url), clock, Sender("w0"))
        answer = client.send(replace(REQUEST, protocol=protocol))
        client.close()
        return answer

    answers = [answer for answer in staggered(stream) if isinstance(answer, tuple)]
    records = [record for record, _ in answers]
    assert {record.error for record in records} == {None}
    true = [emitted_ns(text) for _, text in answers]
    zero_ns = time.monotonic_ns() - clock.now_s() * 1e9
    measured = []
    for record in records:
        assert record.first_token_s is not None
        times_ns = [int(record.first_token_s * 1e9 + zero_ns)]
        for gap_s in record.gaps_s:
            times_ns.append(times_ns[-1] + round(gap_s * 1e9))
        measured.append(times_ns)
    return Errors.of(measured, true), records


def by_readline(url: str) -> Errors:
    def stream(number: int) -> tuple[list[int], list[int]]:
        client = HTTPClient.from_url(url)
        answer = read_stream(client, "/generate_stream", b"{}")
        client.close()
        return answer

    answers = [answer for answer in staggered(stream) if isinstance(answer, tuple)]
    return Errors.of([read for read, _ in answers], [sent for _, sent in answers])


@pytest.fixture(scope="module")
def emitter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_emitter(tmp_path_factory.mktemp("emitter"))


@pytest.fixture
def url(emitter: Path) -> Iterator[str]:
    with emitting(emitter, ttft_s=0.05, itl_s=ITL_S, tokens=TOKENS) as running:
        yield running


def test_tokens_are_timed_many_times_as_exactly_as_by_readline(url: str) -> None:
    rounds = [(by_us(url, "tgi-generate-stream")[0], by_readline(url)) for _ in range(ROUNDS)]
    ratios: dict[str, list[float]] = {"first": [], "gaps": []}
    for ours, theirs in rounds:
        for name, of_rounds in ratios.items():
            mine_s, usual_s = p99(getattr(ours, name)), p99(getattr(theirs, name))
            of_rounds.append(mine_s / usual_s)
            print(f"{name}: error p99 {mine_s * 1000:.4f} ms, readline {usual_s * 1000:.3f} ms")  # noqa: T201
    assert min(ratios["gaps"]) < 1 / 10
    assert min(ratios["first"]) < 1 / 5


@pytest.mark.parametrize("protocol", ["tgi-generate-stream", "openai-chat-stream"])
def test_nearly_every_token_is_timed_to_a_tenth_of_a_millisecond_in_either_api(
    url: str, protocol: ProtocolName
) -> None:
    """Of one token in ten the machine may have kept the emitter itself waiting between its stamp and its writing."""
    errors, records = by_us(url, protocol)
    assert len(errors.gaps) == STREAMS * (TOKENS - 1)
    close = sum(error_s < 0.0001 for error_s in errors.gaps) / len(errors.gaps)
    assert close > 0.9
    assert {record.transport for record in records} == {"kernel"}
