"""The report of an inspection as a table for people."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tgi_autoround.inspection.report import LayerGroup, Report, Shard

WIDTH_WITHOUT_TERMINAL = 140


def show(report: Report) -> None:
    """Print a report to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    if report.layers:
        console.print(_layers_table(report))
        for line in (*_reasons(report), *_totals(report)):
            console.print(escape(line))
    for problem in report.problems:
        console.print(f"[red]problem:[/red] {escape(problem)}", soft_wrap=True)


def _layers_table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("layers", "count", "weights", "in → out", "files", "kernel", "MB"):
        table.add_column(heading, justify="right" if heading in ("count", "files", "MB") else "left", overflow="fold")
    if report.tp > 1:
        table.add_column(f"shard of {report.tp}", overflow="fold")
    for group in report.layers:
        table.add_row(*map(escape, _cells(group)))
    return table


def _cells(group: LayerGroup) -> list[str]:
    kind = "sym" if group.sym else "asym"
    cells = [
        group.pattern,
        str(group.layers),
        f"W{group.bits} {kind} g{group.group_size} {group.packing}{' +bias' if group.bias else ''}",
        f"{group.in_features} → {group.out_features}",
        str(len(group.files)),
        group.kernel,
        _megabytes(group.memory_bytes),
    ]
    return [*cells, _shard(group.shard)] if group.shard else cells


def _shard(shard: Shard) -> str:
    cut = f", groups cut to {shard.group_size}" if shard.cuts_groups else ""
    return f"{shard.direction} {shard.in_features} → {shard.out_features}{cut}"


def _reasons(report: Report) -> list[str]:
    patterns: dict[tuple[str, str], list[str]] = {}
    for group in report.layers:
        for reason in group.passed_over.items():
            patterns.setdefault(reason, []).append(group.pattern)
    everywhere = len(report.layers)
    return [
        f"not {kernel}: {reason} ({'every layer' if len(found) == everywhere else ', '.join(found)})"
        for (kernel, reason), found in patterns.items()
    ]


def _totals(report: Report) -> list[str]:
    per_device = f" on each of {report.tp} devices, plain tensors counted in full" if report.tp > 1 else ""
    return [
        f"on disk: {_megabytes(report.disk_bytes)} MB, {report.bits_per_weight:.2f} bits per quantized weight",
        f"to serve on {report.device}: {_megabytes(report.memory_bytes)} MB of weights{per_device}, of which "
        f"{_megabytes(report.plain_memory_bytes)} MB are {report.plain_tensors} plain tensors in {report.dtype}",
    ]


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"
