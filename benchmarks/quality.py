#!/usr/bin/env python3
"""What quantization costs in quality: held-out perplexity of fp16 and of W4, W3, W2 by rounding and by AutoRound.

    python benchmarks/quality.py

Quantizes the demo model with the command that users run, decodes the written files, scores them on held-out text,
writes benchmarks/results/quality.json and renews the table in docs/quality.md.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tgi_autoround.checkpoint import open_checkpoint

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from demo_model.perplexity import score  # noqa: E402

GROUP_SIZES = {4: 128, 3: 128, 2: 64}
METHODS = {"RTN": ("--recipe", "rtn"), "AutoRound": ("--recipe", "default", "--iters", "200")}
CALIBRATION = ("--nsamples", "128", "--seqlen", "128", "--seed", "42")
TABLE = re.compile(r"(?<=<!-- table:begin -->\n).*(?=<!-- table:end -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One checkpoint: held-out figures, bytes of its safetensors files, processor time of quantizing it."""

    name: str
    bits: int
    perplexity: float
    bits_per_byte: float
    size_bytes: int
    group_size: int | None = None
    quantize_cpu_s: float | None = None


def main() -> None:
    options = _options()
    texts = [json.loads(line)["text"] for line in (options.model / "heldout.jsonl").read_text("utf-8").splitlines()]
    rows = []
    for row in _rows(options.model, texts):
        print(f"{row.name}: perplexity {row.perplexity:.3f}, {row.bits_per_byte:.4f} bits per byte", flush=True)
        rows.append(row)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(_report(rows), indent=2) + "\n")
    table = markdown_table(rows)
    options.docs.write_text(TABLE.sub(table, options.docs.read_text("utf-8")), encoding="utf-8")
    print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "assets/demo-model")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/quality.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/quality.md")
    return parser.parse_args()


def _rows(model_dir: Path, texts: Sequence[str]) -> Iterator[Row]:
    yield _measured("fp16", model_dir, model_dir, texts, bits=16)
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        for bits, group_size in GROUP_SIZES.items():
            for method, arguments in METHODS.items():
                name = f"W{bits} g{group_size} {method}"
                quantized = Path(scratch) / name.replace(" ", "-")
                cpu_s = _quantize(model_dir, quantized, "--bits", bits, "--group-size", group_size, *arguments)
                yield _measured(
                    name, quantized, model_dir, texts, bits=bits, group_size=group_size, quantize_cpu_s=cpu_s
                )


def _quantize(model_dir: Path, output: Path, *options: object) -> float:
    """Runs the users' command; returns its processor time, which other work on the machine changes least."""
    program = Path(sys.executable).with_name("tgi-autoround")
    command = [program, "quantize", model_dir, output, *options, *CALIBRATION, "--device", "cpu"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _measured(name: str, checkpoint_dir: Path, model_dir: Path, texts: Sequence[str], **facts: Any) -> Row:
    figures = score(decoded_model(checkpoint_dir, model_dir), AutoTokenizer.from_pretrained(model_dir), texts)
    size_bytes = sum(path.stat().st_size for path in checkpoint_dir.glob("*.safetensors"))
    return Row(
        name,
        perplexity=figures.perplexity,
        bits_per_byte=figures.bits_per_byte,
        size_bytes=size_bytes,
        **facts,
    )


def decoded_model(checkpoint_dir: Path, model_dir: Path) -> Any:
    """The float32 model whose every weight is what the checkpoint's files say, quantized or not."""
    checkpoint = open_checkpoint(checkpoint_dir)
    weights = {name: checkpoint.read_tensor(name).float() for name in checkpoint.plain_tensors}
    weights |= {f"{name}.weight": checkpoint.load_layer(name).dequantize() for name in checkpoint.quantized_layers}
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    unread = set(model.load_state_dict(weights, strict=False).missing_keys) - set(model.all_tied_weights_keys)
    if unread:
        raise SystemExit(f"{checkpoint_dir} lacks {sorted(unread)}; its perplexity would be that of another model")
    return model.eval()


def _report(rows: Sequence[Row]) -> dict[str, object]:
    return {
        "command": "python benchmarks/quality.py",
        "calibration": " ".join(CALIBRATION),
        "rows": [asdict(row) for row in rows],
        "machine": {"cpu_count": os.cpu_count(), "architecture": platform.machine()},
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("auto-round", "torch", "transformers")},
    }


def markdown_table(rows: Sequence[Row]) -> str:
    """Each row against the first, which is the unquantized model."""
    lines = [
        "| weights | perplexity | against fp16 | bits per byte | size | processor time |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        change = f"{100 * (row.perplexity / rows[0].perplexity - 1):+.1f} %" if row is not rows[0] else ""
        took = f"{row.quantize_cpu_s:.0f} s" if row.quantize_cpu_s else ""
        size = f"{row.size_bytes / 1e6:.2f} MB"
        lines.append(f"| {row.name} | {row.perplexity:.2f} | {change} | {row.bits_per_byte:.3f} | {size} | {took} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
