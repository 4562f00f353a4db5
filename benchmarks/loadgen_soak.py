"""Does the load generator's memory stay flat? Hours of use in one process, at a steady rate against the mock server.

python -m benchmarks.loadgen_soak --minutes 30 --output benchmarks/results/loadgen-soak.json
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.loadgen_clients.locust_users import run_workload
from loadtest.llmload.journal import read_records
from loadtest.llmload.request import Conversation, PromptRequest
from loadtest.mock.process import mock_server

REQUESTS_PER_MINUTE = 1000


@dataclass(frozen=True)
class SteadyRate:
    minutes: float
    name: str = "soak"
    open_loop: bool = True
    stop_when_done: bool = True

    def arrivals(self) -> Iterator[PromptRequest]:
        for index in range(int(REQUESTS_PER_MINUTE * self.minutes)):
            yield PromptRequest(
                request_id=str(index),
                index=index,
                scenario=self.name,
                protocol="tgi-generate-stream",
                max_tokens=20,
                prompt="hello",
                scheduled_s=index * 60 / REQUESTS_PER_MINUTE,
            )

    def conversation(self, user_number: int) -> Conversation:
        raise NotImplementedError("an open loop has no users")


def slope(at_s: np.ndarray, memory_bytes: np.ndarray) -> tuple[float, float]:
    """Least-squares slope and its standard error, in bytes per second.

    Samples a second apart are no independent ones: they are averaged over tenths of the run first.
    """
    tenths = np.array_split(np.arange(len(at_s)), 10)
    x, y = (np.array([values[tenth].mean() for tenth in tenths]) for values in (at_s, memory_bytes))
    fit, residual, *_ = np.polyfit(x, y, 1, full=True)
    variance = residual[0] / (len(x) - 2) if len(residual) else 0.0
    return float(fit[0]), float(np.sqrt(variance / ((x - x.mean()) ** 2).sum()))


def measure(minutes: float, warm_up_minutes: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as parent, mock_server(ttft_ms=30, itl_ms=10) as url:
        folder = Path(parent) / "run"
        run_workload(SteadyRate(minutes), url, users=1, folder=folder)
        records = read_records(folder)
        meta = json.loads((folder / "meta.json").read_text())
    samples = meta["workers"][0]["samples"]
    kept = [sample for sample in samples if sample["at_s"] > warm_up_minutes * 60]
    at_s, memory = (np.array([sample[name] for sample in kept]) for name in ("at_s", "memory_bytes"))
    per_s, error_per_s = slope(at_s, memory)
    return {
        "minutes": minutes,
        "warm_up_minutes": warm_up_minutes,
        "requests": len(records),
        "failed": sum(not record.ok for record in records),
        "valid": meta["validity"]["valid"],
        "reasons": meta["validity"]["reasons"],
        "cpu_share_mean": float(np.mean([sample["cpu_share"] for sample in samples])),
        "memory_start_mb": float(memory[:10].mean() / 1e6),
        "memory_end_mb": float(memory[-10:].mean() / 1e6),
        "slope_kb_per_minute": per_s * 60 / 1e3,
        "slope_standard_error_kb_per_minute": error_per_s * 60 / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--warm-up-minutes", type=float, default=6, help="left out of the slope")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result = json.dumps(measure(options.minutes, options.warm_up_minutes), indent=2)
    print(result)
    if options.output:
        options.output.write_text(result + "\n")


if __name__ == "__main__":
    main()
