"""Serve AutoRound checkpoints by a real, patched TGI server on a CPU and compare its greedy tokens.

    python -m tests.upstream.verify --server TGI/server --python TGI_VENV/bin/python

docs/verification.md says how to come by both. The reference is a plain transformers model in float32 whose weights
come from the tests' own decoder. A token of TGI's is right where the reference, fed the same text, gives it the highest
logit or one within TOLERANCE of it: TGI computes in 16 bits. Prints a table; exit code 1 where a check fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer

from tests.coverage import build
from tests.coverage.cases import CASES
from tests.oracle import dequantized_model
from tests.upstream.checks import CHECKS, Check
from tgi_autoround.checkpoint.compat import readable_by_transformers_4

HERE = Path(__file__).parent
PROMPTS = ["The quick brown fox", "Hello world, this is", "A function object is created by"]
TOLERANCE_OF_SPREAD = {"float16": 0.005, "bfloat16": 0.1}
"""How far below the highest logit a token may lie, in standard deviations of the logits."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, required=True, help="TGI's server/, patched, with generated pb")
    parser.add_argument("--python", required=True, help="the Python that has TGI's requirements and this package")
    parser.add_argument("--only", default="", help="run the checks whose case contains this")
    arguments = parser.parse_args()
    print("| checkpoint | shards | asked | dtype | result |\n|---|---|---|---|---|")
    failed = 0
    for check in CHECKS:
        if arguments.only in check.case:
            right, said = _run(check, arguments.server.resolve(), arguments.python)
            asked = f"`--quantize {check.quantize}`" if check.quantize else "nothing"
            asked += ", TGI_AUTOROUND=1" if check.forced else ""
            print(f"| {check.case} | {check.world} | {asked} | {check.dtype or 'default'} | {said} |", flush=True)
            failed += not right
    sys.exit(f"{failed} checks failed" if failed else 0)


def _run(check: Check, server: Path, python: str) -> tuple[bool, str]:
    folder = build.checkpoint(next(case for case in CASES if case.name == check.case))
    answers, log = _ask_tgi(check, folder, server, python)
    if check.refusal is not None:
        refused = answers is None and check.refusal in log
        return refused, f"refused: “{check.refusal}”" if refused else f"NOT REFUSED AS EXPECTED: {log[-300:]!r}"
    if answers is None:
        return False, f"FAILED: {log[-300:]!r}"
    if check.against_tgi:
        decoded, _ = _ask_tgi(check, _decoded(folder), server, python)
        tokens = sum(map(len, answers))
        return answers == decoded, f"{tokens} tokens equal to TGI's own" if answers == decoded else "WRONG"
    return compare(folder, answers, check.dtype or "bfloat16")


def _ask_tgi(check: Check, folder: Path, server: Path, python: str) -> tuple[list[list[int]] | None, str]:
    with tempfile.TemporaryDirectory() as scratch:
        prompts = Path(scratch) / "prompts.json"
        prompts.write_text(json.dumps(PROMPTS))
        command = [python, HERE / "shard.py", folder, "--world", str(check.world), "--prompts", prompts]
        command += ["--quantize", check.quantize] if check.quantize else []
        command += ["--dtype", check.dtype] if check.dtype else []
        environment = {
            **os.environ,
            "PYTHONPATH": f"{server}:{HERE / 'doubles'}",
            "OMP_NUM_THREADS": "1",
            **({"TGI_AUTOROUND": "1"} if check.forced else {}),
        }
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
    return (json.loads(run.stdout) if run.returncode == 0 else None), run.stderr


def _decoded(folder: Path) -> Path:
    """Return a checkpoint of the decoded weights in float16, as TGI's transformers reads it."""
    plain = Path(tempfile.mkdtemp())
    dequantized_model(folder).half().save_pretrained(plain)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / file, plain)
    return readable_by_transformers_4(plain)


@torch.no_grad()
def compare(folder: Path, answers: list[list[int]], dtype: str) -> tuple[bool, str]:
    """Return whether every token of the answers to PROMPTS is right, and what is to be said of them."""
    reference = dequantized_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = near = 0
    worst = 0.0
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        prompt_ids = tokenizer(prompt)["input_ids"]
        ids = torch.tensor([prompt_ids + answer])
        logits = reference(ids, use_cache=False).logits[0, len(prompt_ids) - 1 : -1]
        given = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        below = (logits.max(-1).values - given) / logits.std(-1)
        tokens += len(answer)
        near += int((below > 0).sum())
        worst = max(worst, below.max().item())
    if worst > TOLERANCE_OF_SPREAD[dtype]:
        return False, f"WRONG: a token {worst:.3f} standard deviations below the highest logit"
    ties = f", {near} ties within {worst:.3f} of the logits' spread" if near else ""
    return True, f"{tokens - near} tokens equal{ties}"


if __name__ == "__main__":
    main()
