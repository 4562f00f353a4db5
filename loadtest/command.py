"""The command line of `python -m loadtest`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest.compare import Ratio, compare, runs_in
from loadtest.errors import LoadTestError
from loadtest.finish import finish_run
from loadtest.gate import Verdict, judge, read_limits
from loadtest.interleave import run_interleaved
from loadtest.report.page import milliseconds
from loadtest.saturation import Measurement, Point, find_knee, write_curve
from loadtest.scenario_files import load_scenario, scenario_names
from loadtest.summary import read_summary
from loadtest.terminal import print_summary

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 fine or passed, 1 failed, 2 asked wrongly, 3 invalid, 4 too few samples."""
    options, flags = _parser().parse_known_args(arguments)
    options.flags = [flag for flag in flags if flag != "--"]
    if options.flags and options.command not in (_saturate, _abab):
        _parser().error(f"unrecognized arguments: {' '.join(options.flags)}")
    try:
        code: int = options.command(options, Console())
    except LoadTestError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description="A load test itself is run by locust -f loadtest/locustfile.py --scenario NAME --host URL.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: object, what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        added.set_defaults(command=command)
        return added

    add("scenarios", _scenarios, "list the scenarios and what they are")
    report = add("report", _report, "make summary.json and report.html of a run's records again, and print them")
    report.add_argument("folder", type=Path)
    gate = add("gate", _gate, "exit with 0 (pass), 1 (fail), 3 (invalid run) or 4 (too few samples)")
    gate.add_argument("folder", type=Path)
    gate.add_argument("--slo", type=Path, required=True, help="YAML file of limits; docs/loadtest.md has an example")
    comparison = add("compare", _compare, "ratios B / A with the interval that chance explains")
    comparison.add_argument("a", type=Path, help="a run's folder, or one that holds several")
    comparison.add_argument("b", type=Path)
    abab = add("abab", _abab, "run two servers in turns and compare them; further options go to locust")
    abab.add_argument("--a", required=True, metavar="URL", help="such as the fp16 server")
    abab.add_argument("--b", required=True, metavar="URL", help="such as the quantized one")
    abab.add_argument("--rounds", type=int, default=3)
    abab.add_argument("--seed", type=int, default=0)
    abab.add_argument("--out", type=Path, required=True)
    saturate = add("saturate", _saturate, "search the most users within the limits; further options go to locust")
    saturate.add_argument("--host", required=True)
    saturate.add_argument("--scenario", default="saturation", metavar="NAME|FILE")
    saturate.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    saturate.add_argument("--out", type=Path, required=True)
    return parser


def _scenarios(_: argparse.Namespace, console: Console) -> int:
    table = Table("scenario", "what", "arrivals")
    for name in scenario_names():
        scenario = load_scenario(name)
        table.add_row(name, scenario.description, scenario.arrivals.process)
    console.print(table)
    return 0


def _report(options: argparse.Namespace, console: Console) -> int:
    print_summary(finish_run(options.folder), console)
    return 0


def _gate(options: argparse.Namespace, console: Console) -> int:
    summary = read_summary(options.folder)
    verdict, checks = judge(summary, read_limits(options.slo))
    table = Table("asked", "found", "verdict")
    for check in checks:
        table.add_row(check.asked, check.found, check.verdict.name.replace("_", " ").lower())
    console.print(table)
    for reason in summary["invalid_because"]:
        console.print(f"INVALID: {reason}", highlight=False, soft_wrap=True)
    console.print(f"[bold]{verdict.name.replace('_', ' ')}[/]")
    return verdict.value


def _compare(options: argparse.Namespace, console: Console) -> int:
    return _print_comparison(runs_in(options.a), runs_in(options.b), console)


def _abab(options: argparse.Namespace, console: Console) -> int:
    runs = run_interleaved(options.a, options.b, options.rounds, options.seed, options.out, options.flags, console)
    return _print_comparison(*runs, console)


def _print_comparison(runs_a: Sequence[Path], runs_b: Sequence[Path], console: Console) -> int:
    ratios, doubts = compare(runs_a, runs_b)
    table = Table("", "A", "B", "B / A", "95 % interval", "")
    for ratio in ratios:
        table.add_row(ratio.name, _figure(ratio, ratio.a), _figure(ratio, ratio.b), *_interval(ratio))
    console.print(table)
    for doubt in doubts:
        console.print(f"[bold]Careful:[/] {doubt}", highlight=False, soft_wrap=True)
    return Verdict.INVALID.value if doubts else 0


def _figure(ratio: Ratio, value: float | None) -> str:
    if ratio.name.endswith("/s"):
        return "-" if value is None else f"{value:.1f}"
    return f"{milliseconds(value)} ms"


def _interval(ratio: Ratio) -> tuple[str, str, str]:
    if ratio.ratio is None or ratio.low is None:
        return "-", "-", "not measured"
    return f"{ratio.ratio:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}", "differs" if ratio.differs else ""


def _saturate(options: argparse.Namespace, console: Console) -> int:
    scenario = load_scenario(options.scenario, options.overrides)
    if scenario.search is None or scenario.is_open_loop:
        raise LoadTestError(f"The scenario {scenario.name} has no section `search`, or no closed loop to search in.")
    flags = ["--scenario", options.scenario, *(f"--set={override}" for override in options.overrides), *options.flags]
    measurement = Measurement(options.host, options.out, scenario.search, flags, lambda p: _print_point(p, console))
    curve = find_knee(measurement, scenario.search)
    write_curve(options.out, curve, f"{scenario.name} at {options.host}")
    more = ", and more were not tried" if curve.limit_reached else ""
    console.print(
        f"Within the limits: [bold]{curve.knee or 'no'}[/] users{more}. Report: {options.out / 'report.html'}"
    )
    if curve.ended_invalid:
        users = curve.points[-1].users
        console.print(
            f"INVALID: with {users} users the client was the bottleneck, which ended the search; the reasons are in "
            f"{options.out / f'users-{users}'}. Use more workers (--processes).",
            soft_wrap=True,
        )
        return Verdict.INVALID.value
    return 0 if curve.knee else Verdict.FAIL.value


def _print_point(point: Point, console: Console) -> None:
    console.print(
        f"{point.users:5} users: {point.share:7.1%} of {point.requests} requests within the limits, "
        f"{point.output_tokens_per_s:8.1f} output tokens/s, TTFT p50 {milliseconds(point.ttft_p50_s)} ms"
        f"{'' if point.valid else ', INVALID'}",
        highlight=False,
        soft_wrap=True,
    )
