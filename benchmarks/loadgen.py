"""What the load generator costs and how exact it is, beside its peers, against the exact emitter on this machine.

    python -m benchmarks.loadgen --peers-python PEERS/bin/python --guidellm PEERS/bin/guidellm

PEERS is an environment with aiohttp and guidellm; without these options their rows are left out, which is said.
Every client runs in a process of its own, in turns, several rounds; ratios are taken within a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loadgen_clients import guidellm
from benchmarks.loadgen_clients.measured import ITL_S
from loadtest.llmload.journal import read_records
from loadtest.mock.emitter import build_emitter, emitting

STREAMS = 64
ONSET_STREAMS = (64, 128, 256, 512, 1024)
ONSET_ERROR_MS = 5.0
PROCESS_STREAMS = (64, 256, 768, 1024, 1536, 2048)
ROOT = Path(__file__).resolve().parents[1]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    url: str
    seconds: float
    rounds: int
    peers_python: Path | None
    guidellm: Path | None

    @property
    def clients(self) -> dict[str, Path]:
        """Module of each client, and the Python that runs it."""
        own = {"ours": Path(sys.executable), "readline": Path(sys.executable)}
        return own | ({"aiohttp_stream": self.peers_python} if self.peers_python else {})

    def run(self, client: str, streams: int) -> Figures:
        command = [str(self.clients[client]), "-m", f"benchmarks.loadgen_clients.{client}"]
        arguments = [self.url, str(streams), str(self.seconds)]
        load_before = os.getloadavg()[0]
        output = subprocess.run([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        figures: Figures = json.loads(output.splitlines()[-1])
        say(f"{client} at {streams} streams: {figures}")
        return {**figures, "load_average_before": load_before}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def compare(setup: Setup) -> Figures:
    rounds = []
    for _ in range(setup.rounds):
        measured = {client: setup.run(client, STREAMS) for client in setup.clients}
        if setup.guidellm:
            cost_us = guidellm.cpu_us_per_token(setup.guidellm, setup.url, STREAMS, setup.seconds)
            say(f"guidellm: {cost_us:.1f} us per token")
            measured["guidellm"] = {"cpu_us_per_token": cost_us}
        rounds.append(measured)
    names = ("cpu_us_per_token", "ttft_error_p99_ms", "itl_error_p99_ms")
    return {"streams": STREAMS, "rounds": rounds, "ours_to_peer": {name: _ratios(rounds, name) for name in names}}


def _ratios(rounds: list[dict[str, Figures]], name: str) -> Figures:
    """Ours divided by each peer's within a round: the median, and the rounds' range."""
    peers = [client for client, figures in rounds[0].items() if client != "ours" and name in figures]
    ratios = {peer: [measured["ours"][name] / measured[peer][name] for measured in rounds] for peer in peers}
    return {
        peer: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for peer, values in ratios.items()
    }


def onset(setup: Setup) -> Figures:
    """Fewest streams at which the error of the time to first token, at its 99th percentile, passes the limit.

    The median of the rounds decides: one run has a few hundred first tokens, and the machine's moods show in them.
    """
    found: Figures = {}
    curve: dict[str, dict[int, list[Figures]]] = {client: {} for client in setup.clients}
    for streams in ONSET_STREAMS:
        for client in setup.clients.keys() - found.keys():
            measured = [setup.run(client, streams) for _ in range(setup.rounds)]
            curve[client][streams] = measured
            if statistics.median(figures["ttft_error_p99_ms"] for figures in measured) > ONSET_ERROR_MS:
                found[client] = streams
    return {"limit_ms": ONSET_ERROR_MS, "onset_streams": found, "curve": curve}


def processes(setup: Setup) -> Figures:
    """Tokens per second of one and of two processes, by streams, and the most of it that was still valid."""
    curve: dict[int, dict[int, Figures]] = {1: {}, 2: {}}
    for streams in PROCESS_STREAMS:
        for count, measured in curve.items():
            measured[streams] = _under_locust(setup, count, streams)
            say(f"{count} processes at {streams} streams: {measured[streams]}")
    best = {
        count: max((figures["tokens_per_s"] for figures in measured.values() if figures["valid"]), default=0.0)
        for count, measured in curve.items()
    }
    return {"curve": curve, "valid_tokens_per_s": best, "ratio": best[2] / best[1] if best[1] else None}


def _under_locust(setup: Setup, count: int, streams: int) -> Figures:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        command = [sys.executable, "-m", "locust", "-f", "benchmarks/loadgen_clients/locustfile.py", "--headless"]
        command += ["--host", setup.url, "-u", str(streams), "-r", str(streams), "-t", f"{int(setup.seconds) + 3}s"]
        command += ["--stop-timeout", "5", *(["--processes", str(count)] if count > 1 else [])]
        variables = {"STREAMS": str(streams), "SECONDS": str(setup.seconds), "RUN_FOLDER": str(folder)}
        subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, check=False)
        meta: Mapping[str, Any] = json.loads((folder / "meta.json").read_text())
        records = [record for record in read_records(folder) if record.ok]
    duration_s = max(record.end_s for record in records) - min(record.sent_s for record in records)
    return {
        "tokens_per_s": sum(record.output_tokens or 0 for record in records) / duration_s,
        "valid": meta["validity"]["valid"],
        "measured": meta["validity"]["measured"],
    }


PARTS: Mapping[str, Callable[[Setup], Figures]] = {"compare": compare, "onset": onset, "processes": processes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; all of it by default")
    parser.add_argument("--peers-python", type=Path, help="Python of an environment that has aiohttp")
    parser.add_argument("--guidellm", type=Path, help="the program guidellm")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/loadgen.json")
    options = parser.parse_args()
    for name in ("peers_python", "guidellm"):
        if getattr(options, name) is None:
            say(f"--{name.replace('_', '-')} was not given: the rows that need it are left out")
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        program = build_emitter(Path(folder))
        with emitting(program, ttft_s=0.05, itl_s=ITL_S, tokens=guidellm.TOKENS_PER_ANSWER) as url:
            setup = Setup(url, options.seconds, options.rounds, options.peers_python, options.guidellm)
            for part in options.parts or PARTS:
                results[part] = PARTS[part](setup)
    results["machine"] = {"cpu_cores": os.cpu_count(), "load_average": os.getloadavg()}
    options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
