"""The tables of docs/coverage.md from the rows that coverage_matrix.py measured."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.coverage.families import README_MODELS, UNREACHABLE

Row = Mapping[str, Any]
HEADS = {
    "ours": "tgi-autoround",
    "transformers": "transformers + auto-round + auto-round-lib",
    "transformers alone": "transformers + auto-round",
}
KINDS = {
    "exact": "exact",
    "rounded": "loads",
    "refused": "refused",
    "broken": "loads, cannot run",
    "wrong": "**silently wrong**",
}
SERVED = {"same": "yes", "other": "**other tokens**"}


def renew(page: Path, report: Mapping[str, Any]) -> None:
    """Put the tables between the page's markers."""
    rows = report["rows"]
    tables = {
        "versions": [", ".join(f"{package} {number}" for package, number in report["versions"].items()) + "."],
        "summary": _summary(rows),
        "grid": _outcomes(_merged_groups([row for row in rows if row["topic"] == "grid"])),
        "special": _outcomes([row for row in rows if row["topic"] == "special"]),
        "hand-made": _outcomes([row for row in rows if row["topic"] == "hand-made"]),
        "messages": _messages(rows),
        "models": _models({row["name"]: row for row in rows}),
        "families": _families([row for row in rows if row["topic"] == "family"]),
    }
    text = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        between = re.compile(rf"(?<=<!-- {name}:begin -->\n).*?(?=<!-- {name}:end -->)", re.DOTALL)
        text = between.sub("\n".join(lines).replace("\\", "\\\\") + "\n", text)
    page.write_text(text, encoding="utf-8")


def _summary(rows: Sequence[Row]) -> list[str]:
    lines = [f"| {len(rows)} files | {' | '.join(KINDS.values())} |", "|---|" + "---:|" * len(KINDS)]
    for loader, head in HEADS.items():
        counts = Counter(row["outcomes"][loader]["kind"] for row in rows)
        lines.append(f"| {head} | {' | '.join(str(counts[kind]) for kind in KINDS)} |")
    return lines


def _merged_groups(rows: Iterable[Row]) -> list[Row]:
    """One row for the group sizes of a format and width that have the same outcomes."""
    merged: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        kinds = tuple(row["outcomes"][loader]["kind"] for loader in HEADS)
        merged.setdefault((row["name"].rpartition(" ")[0], *kinds), []).append(row)
    return [
        {**same[0], "name": f"{key[0]} {', '.join(row['name'].rpartition(' ')[2] for row in same)}"}
        for key, same in merged.items()
    ]


def _outcomes(rows: Iterable[Row]) -> list[str]:
    lines = [f"| file | {' | '.join(HEADS.values())} |", "|---|" + "---|" * len(HEADS)]
    for row in rows:
        cells = (KINDS[row["outcomes"][loader]["kind"]] for loader in HEADS)
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return lines


def _messages(rows: Iterable[Row]) -> list[str]:
    """What the other loaders say, each message once, with how many files it met."""
    counts = Counter(
        (loader, outcome["kind"], re.sub(r"\d+ weights", "N weights", outcome["message"]))
        for row in rows
        for loader, outcome in row["outcomes"].items()
        if outcome["message"]
    )
    lines = ["| loader | outcome | files | message |", "|---|---|---:|---|"]
    for (loader, kind, message), files in counts.items():
        lines.append(f"| {HEADS[loader]} | {KINDS[kind]} | {files} | {_cell(message)} |")
    return lines


def _models(row_of: Mapping[str, Row]) -> list[str]:
    lines = ["| model | architecture | difference of logits | served |", "|---|---|---:|---|"]
    for model, architecture in README_MODELS.items():
        if architecture is None:
            lines.append(f"| {model} | own code | not made | {UNREACHABLE} |")
        else:
            lines.append(f"| {model} | {_family_cells(row_of[architecture])} |")
    return lines


def _families(rows: Iterable[Row]) -> list[str]:
    lines = [
        "| architecture | difference of logits | served | transformers + auto-round + auto-round-lib |",
        "|---|---:|---|---|",
    ]
    for row in rows:
        theirs = KINDS[row["outcomes"]["transformers"]["kind"]]
        lines.append(f"| {_family_cells(row)} | {theirs} |")
    return lines


def _family_cells(row: Row) -> str:
    ours = row["outcomes"]["ours"]
    figure = _cell(ours["message"]) if ours["error"] is None else f"{ours['error']:.0e}".replace("0e+00", "0")
    return f"{row['name']} | {figure} | {SERVED.get(row['engine'], 'no: ' + _cell(row['engine']))}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").removeprefix("UnsupportedError: ")
