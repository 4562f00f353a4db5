#!/usr/bin/env python3
"""What the engine's choices on a CPU cost in quality: held-out perplexity of the demo model, W4 g128, as it is served.

    python benchmarks/cpu_compute.py

`--cpu-compute`, the type of the key/value cache and `--lm-head-bits` are changed one at a time. Every figure is the
engine's own forward over the same quantized checkpoint, scored as benchmarks/quality.py scores. Prints a table.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.engine.attention import PromptChunk, StepLayout
from tgi_autoround.engine.decoder import fusions, read
from tgi_autoround.engine.decoder.cpu import CpuDecoder, StepOutput
from tgi_autoround.engine.head import round_head
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.modeling import build_model

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from demo_model.perplexity import WINDOW_TOKENS, score  # noqa: E402

DEMO = ROOT / "assets" / "demo-model"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Choice:
    """What is served with."""

    compute: str
    cache: torch.dtype = torch.float32
    head_bits: int | None = None

    def __str__(self) -> str:
        head = f"{self.head_bits} bits" if self.head_bits else "as stored"
        return f"{self.compute} | {str(self.cache).removeprefix('torch.')} | {head}"


CHOICES = (
    Choice("fp32"),
    Choice("fp32", head_bits=8),
    Choice("fp32", head_bits=4),
    Choice("int8"),
    Choice("int8", head_bits=8),
    Choice("int8", head_bits=4),
    Choice("int8", torch.bfloat16),
    Choice("int8", torch.bfloat16, head_bits=8),
    Choice("int8", torch.bfloat16, head_bits=4),
)


class Served:
    """The engine's forward as a model that takes whole windows, which is all that scoring asks for."""

    device = CPU

    def __init__(self, checkpoint: Path, choice: Choice) -> None:
        exact = choice.compute == "fp32"
        model: Any = build_model(
            open_checkpoint(checkpoint), device=CPU, dtype=torch.float32, exact=exact, fuse=fusions
        )
        if choice.head_bits:
            round_head(model, choice.head_bits, dtype=torch.float32, exact=exact)
        self._decoder = CpuDecoder(read(model), WINDOW_TOKENS)
        self._cache = KVCache(model.config, 1, WINDOW_TOKENS, choice.cache, CPU)

    def __call__(self, tokens: torch.Tensor) -> StepOutput:
        """tokens: int64 [1, at most WINDOW_TOKENS]."""
        rows = torch.arange(tokens.shape[1])
        none = torch.empty(0, dtype=torch.int64)
        chunk = PromptChunk(slot=0, start=0, stop=len(rows), offset=0)
        step = StepLayout(self._cache, none, torch.ones(0, 1, 1, 1, dtype=torch.bool), (chunk,))
        return self._decoder(input_ids=tokens, position_ids=rows[None], logits_to_keep=rows, step=step)


def main() -> None:
    texts = [json.loads(line)["text"] for line in (DEMO / "heldout.jsonl").read_text("utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Path(scratch) / "demo-w4"
        command = ["tgi-autoround", "quantize", str(DEMO), str(checkpoint), "--recipe", "rtn"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        exact = None
        print("| compute | cache | head | perplexity | against the first |\n|---|---|---|---:|---:|")
        for choice in CHOICES:
            perplexity = score(Served(checkpoint, choice), tokenizer, texts).perplexity
            exact = exact or perplexity
            print(f"| {choice} | {perplexity:.3f} | {100 * (perplexity / exact - 1):+.2f} % |", flush=True)


if __name__ == "__main__":
    main()
