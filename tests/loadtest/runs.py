"""Runs made up of records whose figures are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from loadtest.llmload.record import ErrorKind, Record
from loadtest.samples import Samples, Window
from loadtest.scenario import Scenario, Slo
from loadtest.scenario_files import load_scenario

SLO = Slo(ttft_s=0.5, tpot_s=0.1, e2e_s=3)


def record(
    sent_s: float,
    ttft_s: float = 0.1,
    gaps_s: Sequence[float] = (0.05,) * 9,
    *,
    late_s: float | None = None,
    tokens: int | None = None,
    prompt_tokens: int = 20,
    error_kind: ErrorKind | None = None,
    scenario: str = "chat",
) -> Record:
    """A streamed answer; with `late_s` it is an open loop's, sent so much later than due. E2E counts 10 ms more."""
    first_s = sent_s + ttft_s
    return Record(
        request_id=f"r{sent_s}",
        scenario=scenario,
        phase="",
        protocol="openai-chat-stream",
        worker="w0",
        transport="kernel",
        sent_s=sent_s,
        scheduled_s=None if late_s is None else sent_s - late_s,
        first_byte_s=first_s,
        first_token_s=first_s,
        last_token_s=first_s + sum(gaps_s),
        end_s=first_s + sum(gaps_s) + 0.01,
        gaps_s=tuple(gaps_s),
        prompt_tokens=prompt_tokens,
        output_tokens=len(gaps_s) + 1 if tokens is None else tokens,
        requested_max_tokens=64,
        finish_reason="length",
        status=200,
        error_kind=error_kind,
        error=None if error_kind is None else "it failed",
    )


def samples(records: Sequence[Record], start_s: float = 0.0, end_s: float = 60.0, slo: Slo = SLO) -> Samples:
    return Samples(records, Window(start_s, end_s), dict.fromkeys({record.scenario for record in records}, slo))


def write_run(
    folder: Path,
    records: Sequence[Record],
    *,
    valid: bool = True,
    seed: int = 0,
    scenario: Scenario | None = None,
    **about: Any,
) -> Path:
    """A finished run's folder, as the load test leaves it before it makes figures of the records."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_bytes(b"".join(record.to_json_line() for record in records))
    meta = {
        "started_unix_s": 1_700_000_000.0,
        "ended_s": 70.0,
        "host": "http://127.0.0.1:8080",
        "scenario": "chat",
        "workers": [{"worker": "w0", "samples": [{"at_s": 1.0, "cpu_share": 0.1}, {"at_s": 2.0, "cpu_share": 0.2}]}],
        "torn_lines": 0,
        "validity": {
            "valid": valid,
            "reasons": [] if valid else ["the client was too busy."],
            "measured": {"client_cpu_share": 0.2},
            "limits": {"client_cpu_share": 0.85},
        },
        "options": {
            "scenario": (scenario or load_scenario("chat", ["warmup_s=0"])).model_dump(mode="json"),
            "seed": seed,
            "users": 4,
            "server": {"model_id": "demo"},
            "sending_ended_unix_s": 1_700_000_060.0,
        },
    }
    (folder / "meta.json").write_bytes(orjson.dumps(meta | about))
    return folder
