"""Serve AutoRound checkpoints by a real, patched tgi-gaudi 2.0 server on a CPU and compare its greedy tokens.

    python -m tests.upstream.verify_legacy --server TGI_GAUDI/server --python TGI_GAUDI_VENV/bin/python

docs/gaudi-legacy.md says how to come by both. The reference is that of tests.upstream.verify. Prints a table; exit code
1 where a check fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.coverage import build
from tests.coverage.cases import CASES
from tests.oracle import dequantized_model
from tests.upstream.legacy_checks import CHECKS, Check
from tests.upstream.verify import PROMPTS, compare
from tgi_autoround.tgi.legacy.view import readable_by_transformers_4_43

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, required=True, help="tgi-gaudi's server/, patched, with generated pb")
    parser.add_argument("--python", type=Path, required=True, help="the Python with its requirements and this package")
    parser.add_argument("--only", default="", help="run the checks whose case contains this")
    arguments = parser.parse_args()
    print("| checkpoint | started with | result |\n|---|---|---|")
    failed = 0
    for check in CHECKS:
        if arguments.only in check.case:
            right, said = _run(check, arguments.server.resolve(), arguments.python)
            print(f"| {check.case} | {_options(check)} | {said} |", flush=True)
            failed += not right
    sys.exit(f"{failed} checks failed" if failed else 0)


def _options(check: Check) -> str:
    environment = [f"`{name}={value}`" for name, value in check.environment.items()]
    return " ".join([*(f"`--{option}`" for option in check.serve), *environment]) or "no options"


def _run(check: Check, server: Path, python: Path) -> tuple[bool, str]:
    folder = build.checkpoint(next(case for case in CASES if case.name == check.case))
    answers, log = _ask(check, folder, server, python)
    if check.refusal is not None:
        refused = answers is None and check.refusal in log
        return refused, f"refused: “{check.refusal}”" if refused else f"NOT REFUSED AS EXPECTED: {log[-300:]!r}"
    if answers is None:
        return False, f"FAILED: {log[-300:]!r}"
    if check.against_upstream:
        decoded, _ = _ask(check, _decoded(folder), server, python)
        tokens = sum(map(len, answers))
        return answers == decoded, f"{tokens} tokens equal to upstream's own" if answers == decoded else "WRONG"
    return compare(folder, answers, "bfloat16")


def _decoded(folder: Path) -> Path:
    """Return a checkpoint of the decoded weights, as the server's own loader reads it."""
    plain = Path(tempfile.mkdtemp())
    dequantized_model(folder).save_pretrained(plain)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / file, plain)
    return readable_by_transformers_4_43(plain)


def _ask(check: Check, folder: Path, server: Path, python: Path) -> tuple[list[list[int]] | None, str]:
    with tempfile.TemporaryDirectory() as scratch:
        prompts = Path(scratch) / "prompts.json"
        prompts.write_text(json.dumps(PROMPTS))
        path = [server, HERE / "legacy_doubles", HERE.parents[1] / "scripts/lib"]
        environment = {
            **os.environ,
            # optimum-habana asks the `pip` of PATH for the version of Gaudi's software.
            "PATH": f"{python.absolute().parent}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join(map(str, path)),
            "OMP_NUM_THREADS": "1",
            **check.environment,
        }
        command = [python.absolute(), HERE / "legacy_server.py", folder, "--prompts", prompts, "--serve", *check.serve]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
    return (json.loads(run.stdout) if run.returncode == 0 else None), run.stderr


if __name__ == "__main__":
    main()
