#!/usr/bin/env python3
"""What a step costs besides the model: HTTP, scheduling, sampling and detokenizing, measured with a model that is none.

    python benchmarks/overhead.py [CHECKPOINT ...]

The real server runs in a process of its own, with a model whose logits are there at once, for a vocabulary of 2,048
and of 32,000 tokens. Clients in this process stream greedy completions. For each checkpoint the same bursts go to the
same server with the checkpoint's model; the share is that of the null model's time per step in its time.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from random_checkpoint import NULL_SHAPES, write_checkpoint
from sse_client import stream_completion

PORT = 8191
STREAMS = (1, 32)
NEW_TOKENS = 128
PROMPT = "The quick brown fox jumps over the lazy dog. " * 8
TEXT_TOKEN = 700
"""One that every tokenizer here has, with a text of its own."""


@dataclass(frozen=True)
class Bursts:
    """Medians over bursts: output tokens/s, and the time a step takes for all of its streams."""

    model: str
    streams: int
    tokens_per_s: float
    step_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_null_model(options.serve)
        return
    results: list[Bursts] = []
    with tempfile.TemporaryDirectory() as directory:
        for name, shape in NULL_SHAPES.items():
            checkpoint = write_checkpoint(shape, Path(directory) / name)
            results += measured(f"null, {name}", [sys.executable, __file__, "--serve", str(checkpoint)], options)
    for checkpoint in options.checkpoints:
        results += measured(checkpoint.name, ["tgi-autoround", "serve", *served(checkpoint)], options)
    print(json.dumps([asdict(result) for result in results], indent=1))


def served(checkpoint: Path) -> list[str]:
    return ["--model-id", str(checkpoint), "--quantize", "auto-round", "--port", str(PORT)]


def serve_null_model(checkpoint: Path) -> None:
    """Run the server, with the engine's forward replaced before it is built."""
    import torch

    from tgi_autoround.cli import app
    from tgi_autoround.engine import forward
    from tgi_autoround.engine.decoder.cpu import StepOutput
    from tgi_autoround.engine.runner import ModelRunner

    class NullModel:
        device = torch.device("cpu")

        def __init__(self, vocabulary: int) -> None:
            self.logits = torch.zeros(1, 512, vocabulary)
            self.logits[..., TEXT_TOKEN] = 5.0

        def __call__(self, *, logits_to_keep: torch.Tensor, step: Any, **_: object) -> StepOutput:
            step.cache.layers_used.update(range(len(step.cache.keys)))
            return StepOutput(self.logits[:, : len(logits_to_keep)])

    forward.make_runner = lambda _config, model, _weights, cache, adapters: ModelRunner(
        NullModel(model.config.vocab_size), cache, adapters
    )
    app(["serve", *served(checkpoint)])


def measured(model: str, command: list[str], options: argparse.Namespace) -> list[Bursts]:
    results = []
    with serving(command):
        for streams in STREAMS:
            rates = [asyncio.run(burst(streams)) for _ in range(options.repetitions + 1)][1:]
            rate = statistics.median(rates)
            results.append(Bursts(model, streams, round(rate, 1), round(1000 * streams / rate, 2)))
            print(results[-1], file=sys.stderr)
    return results


@contextlib.contextmanager
def serving(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health"):
                break
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


async def burst(streams: int) -> float:
    """Return output tokens/s over the whole burst, its prompts included."""
    body = {"model": "tgi", "max_tokens": NEW_TOKENS, "temperature": 0, "prompt": PROMPT}
    started = time.perf_counter()
    answers = await asyncio.gather(*(stream_completion(PORT, body) for _ in range(streams)))
    return sum(answer.tokens for answer in answers) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
