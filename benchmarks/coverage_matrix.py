#!/usr/bin/env python3
"""Which checkpoints load, and whether they compute what their files say: here, and in transformers + auto-round.

    OMP_NUM_THREADS=1 python benchmarks/coverage_matrix.py

Makes every checkpoint of tests/coverage/cases.py (kept between runs, see tests/coverage/build.py), loads each in a
process of its own, writes benchmarks/results/coverage.json and renews the tables in docs/coverage.md.
"""

import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from coverage_loaders import (  # noqa: E402
    Failed,
    Outcome,
    expected_logits,
    in_child,
    load_with_tgi_autoround,
    load_with_transformers,
    load_with_transformers_alone,
    outcome_of,
    serve,
)
from coverage_tables import renew  # noqa: E402

from tests.coverage import build  # noqa: E402
from tests.coverage.cases import CASES, Case  # noqa: E402

LOADERS = {
    "ours": load_with_tgi_autoround,
    "transformers": load_with_transformers,
    "transformers alone": load_with_transformers_alone,
}
RESULTS = ROOT / "benchmarks/results/coverage.json"
DOCS = ROOT / "docs/coverage.md"
PACKAGES = ("auto-round", "auto-round-lib", "torch", "transformers")


@dataclass(frozen=True)
class Row:
    """A case, what became of its file in each loader, and for an architecture how the engine serves it."""

    name: str
    topic: str
    outcomes: dict[str, Outcome]
    engine: str = ""


def main() -> None:
    rows = []
    for row in measured():
        print(row.name, {loader: outcome.kind for loader, outcome in row.outcomes.items()}, row.engine, flush=True)
        rows.append(asdict(row))
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    report = {"command": "python benchmarks/coverage_matrix.py", "versions": versions, "rows": rows}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    renew(DOCS, report)


def measured() -> Iterator[Row]:
    """One row for every case, in their order."""
    for case in CASES:
        folder = in_child(build.checkpoint, case)
        expected = in_child(expected_logits, folder)
        for made in (folder, expected):
            if isinstance(made, Failed):
                raise SystemExit(f"{case.name}: cannot be made or decoded: {made.message}")
        yield _row(case, folder, expected)


def _row(case: Case, folder: Path, expected: np.ndarray) -> Row:
    outcomes = {name: outcome_of(loader, folder, expected) for name, loader in LOADERS.items()}
    engine = in_child(serve, folder) if case.topic == "family" else ""
    return Row(case.name, case.topic, outcomes, engine.message if isinstance(engine, Failed) else engine)


if __name__ == "__main__":
    main()
