"""The figures of a run as a table for the terminal."""

from rich.console import Console
from rich.table import Table

from loadtest.distribution import PERCENTILES
from loadtest.report.page import milliseconds
from loadtest.summary import LATENCIES, Summary


def print_summary(summary: Summary, console: Console | None = None) -> None:
    console = console or Console()
    table = Table(title=f"{summary['scenario']} at {summary['host']}, seed {summary['seed']}", title_justify="left")
    table.add_column("ms")
    for name in ("samples", "mean", *PERCENTILES, "max"):
        table.add_column(name, justify="right")
    for key in LATENCIES:
        times = summary[key]
        table.add_row(
            key.removesuffix("_s").upper(),
            str(times["count"]),
            *(milliseconds(times[k]) for k in ("mean", *PERCENTILES, "max")),
        )
    console.print(table)
    console.print(_counts(summary), highlight=False, soft_wrap=True)
    for kind, count in summary["failures_by_kind"].items():
        console.print(f"  {count} failed: {kind}", highlight=False, soft_wrap=True)
    for reason in summary["invalid_because"]:
        console.print(f"[bold red]INVALID[/]: {reason}", highlight=False, soft_wrap=True)


def _counts(summary: Summary) -> str:
    goodput = summary["goodput"]
    low, high = (f"{100 * bound:.1f}" for bound in goodput["interval"])
    share = "none measured" if goodput["share"] is None else f"{100 * goodput['share']:.1f} % ({low} to {high})"
    return (
        f"{summary['requests']} requests, {summary['failures']} failed, {summary['stopped']} cut off by the end; "
        f"{summary['requests_per_s']:.2f} requests/s, {summary['output_tokens_per_s']:.1f} output tokens/s; "
        f"goodput {share}"
    )
