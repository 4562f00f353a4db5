"""The load test under Locust, its records written to disk."""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.loadgen_clients.locust_users import run_workload
from benchmarks.loadgen_clients.measured import ITL_S, Measured, report
from loadtest.llmload.clock import realtime_offset_ns
from loadtest.llmload.journal import read_records
from loadtest.llmload.request import Conversation, PromptRequest
from loadtest.mock.emitter import emitted_ns


@dataclass(frozen=True)
class Streams:
    """Users that ask again and again until the time is over; the answers hold the tokens' true times."""

    streams: int
    seconds: float
    answers: dict[str, str] = field(default_factory=dict)
    name: str = "streams"
    open_loop: bool = False
    stop_when_done: bool = True

    def arrivals(self) -> Iterator[PromptRequest]:
        raise NotImplementedError("a closed loop has no arrivals")

    def conversation(self, user_number: int) -> Conversation:
        until_s = time.monotonic() + self.seconds
        for index in count():
            if time.monotonic() > until_s:
                return
            request_id = f"{user_number}-{index}"
            self.answers[request_id] = yield PromptRequest(
                request_id=request_id,
                index=index,
                scenario=self.name,
                protocol="tgi-generate-stream",
                max_tokens=40,
                prompt="hello",
                think_time_s=0 if index else ITL_S * user_number / self.streams,
            )


def measure(url: str, streams: int, seconds: float) -> Measured:
    workload = Streams(streams, seconds)
    measured = Measured()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        measured.cpu_s = run_workload(workload, url, streams, folder)
        meta = json.loads((folder / "meta.json").read_text())
        records = [record for record in read_records(folder) if record.ok]
    zero_ns = round(meta["started_unix_s"] * 1e9) - realtime_offset_ns()
    for record in records:
        times_ns = [zero_ns + round((record.first_token_s or 0.0) * 1e9)]
        for gap_s in record.gaps_s:
            times_ns.append(times_ns[-1] + round(gap_s * 1e9))
        measured.arrived_ns.append(times_ns)
        measured.emitted_ns.append(emitted_ns(workload.answers[record.request_id]))
    measured.coalesced = sum(record.coalesced_gaps for record in records)
    measured.invalid = meta["validity"]["reasons"]
    return measured


if __name__ == "__main__":
    report(measure)
