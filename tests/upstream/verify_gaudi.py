"""Run AutoRound layers through the real modules of TGI's patched Gaudi server, whole and on two ranks, on a CPU.

    python -m tests.upstream.verify_gaudi --server TGI/backends/gaudi/server --python TGI_VENV/bin/python

docs/verification.md says how to come by both. Prints a table; exit code 1 where an error passes BOUND.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.coverage import build
from tests.coverage.cases import CASES

HERE = Path(__file__).parent
BOUND = 1e-6
"""Relative L2 error of outputs in float32 against float64."""
CHECKPOINTS = (
    *(f"auto_round W{bits} sym g128" for bits in (2, 3, 4, 8)),
    *(f"auto_round:{form} W4 asym g128" for form in ("auto_gptq", "auto_awq", "gptqmodel")),
    *(f"auto_round:gptqmodel W{bits} asym g32" for bits in (2, 3, 8)),
    "auto_round W4 sym g-1",
    "352 inputs in groups of 128, auto_round W4 sym",
    "mixed bits, auto_round sym",
    "lm_head quantized",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, required=True, help="backends/gaudi/server, patched, with generated pb")
    parser.add_argument("--python", required=True, help="the Python that has TGI's requirements and this package")
    arguments = parser.parse_args()
    folders = [build.checkpoint(next(case for case in CASES if case.name == name)) for name in CHECKPOINTS]
    print(
        "| checkpoint | ranks | q/k/v fused | up | down | head | q/k/v on every rank |\n|---|---|---|---|---|---|---|"
    )
    beyond = 0
    for ranks in (1, 2):
        for name, errors in zip(CHECKPOINTS, _run(folders, ranks, arguments.server, arguments.python), strict=True):
            print(f"| {name} | {ranks} | {' | '.join(f'{error:.1e}' for error in errors)} |")
            beyond += max(errors) > BOUND
    sys.exit(f"{beyond} checkpoints beyond {BOUND}" if beyond else 0)


def _run(folders: list[Path], ranks: int, server: Path, python: str) -> list[list[float]]:
    path = [server.resolve(), HERE / "gaudi_doubles", HERE.parents[1] / "scripts/lib"]
    environment = {
        **os.environ,
        "PYTHONPATH": ":".join(map(str, path)),
        "ATTENTION": "paged",
        "PREFIX_CACHING": "0",
        "OMP_NUM_THREADS": "1",
    }
    command = [python, HERE / "gaudi_layers.py", "--ranks", str(ranks), *folders]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [list(json.loads(line)["errors"].values()) for line in run.stdout.splitlines()]


if __name__ == "__main__":
    main()
