"""Two servers in turns, so that what changes on the machine meanwhile meets both: A, B, A, B ..."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from loadtest.headless import run_locust


def run_interleaved(
    host_a: str, host_b: str, rounds: int, seed: int, out: Path, flags: Sequence[str], console: Console
) -> tuple[list[Path], list[Path]]:
    """Run the same requests against both in every round, others in the next; the server that is first changes.

    Returns the runs' folders, of A and of B, by round.
    """
    runs_a, runs_b = [out / "a" / f"{number}" for number in range(rounds)], [out / "b" / f"{n}" for n in range(rounds)]
    for number in range(rounds):
        turns = [(host_a, runs_a[number]), (host_b, runs_b[number])]
        for host, folder in turns if number % 2 == 0 else reversed(turns):
            summary = run_locust(host, folder, ["--seed", str(seed + number), *flags])
            console.print(
                f"round {number + 1} of {rounds}, {host}: {summary['output_tokens_per_s']:.1f} output tokens/s, "
                f"{summary['requests']} requests, {summary['failures']} failed",
                highlight=False,
                soft_wrap=True,
            )
    return runs_a, runs_b
