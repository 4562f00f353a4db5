#!/usr/bin/env python3
"""Output tokens/s, TTFT and ITL of `tgi-autoround serve` beside `transformers serve` and llama.cpp's server.

    python benchmarks/serve.py [--llama-python VENV/bin/python] [--repetitions 5] [--repetitions-of-1b 2]

`transformers serve --continuous-batching` serves the same W4 checkpoint with the same kernels; llama.cpp, from a Python
with llama-cpp-python[server] and gguf, a Q4_0 file of the same shape. All servers of a model are up together and asked
in turns, the order reversed every repetition; those not asked are stopped, so that they take no time of the processor.
Greedy; no prompt is sent twice, so that nothing is found in a cache. Writes benchmarks/results/serve.json and renews
the tables in docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from random_checkpoint import write_checkpoint
from serving_peers import LLAMA_CPP, OURS, TRANSFORMERS, Server, serving
from sse_client import Stream, stream_completion
from transformers import AutoTokenizer, PreTrainedTokenizerBase

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "assets" / "demo-model"
TABLE = re.compile(r"(?<=<!-- table:begin -->\n).*(?=<!-- table:end -->)", re.DOTALL)


@dataclass(frozen=True)
class Load:
    """A burst of simultaneous requests, and the ratio to each peer's tokens/s that is to be reached."""

    shape: str
    streams: int
    prompt_tokens: int
    new_tokens: int
    targets: dict[str, float]

    @property
    def is_prefill(self) -> bool:
        """Whether prompt tokens are what counts."""
        return self.new_tokens == 1


LOADS = (
    Load("66m", 1, 128, 64, {TRANSFORMERS: 2.5, LLAMA_CPP: 0.7}),
    Load("66m", 8, 128, 64, {TRANSFORMERS: 2.5, LLAMA_CPP: 2.0}),
    Load("66m", 32, 128, 64, {TRANSFORMERS: 2.5, LLAMA_CPP: 2.0}),
    Load("66m", 16, 512, 32, {TRANSFORMERS: 4.0}),
    Load("66m", 1, 512, 1, {LLAMA_CPP: 2.5}),
    Load("1b", 1, 128, 64, {TRANSFORMERS: 1.4, LLAMA_CPP: 1.0}),
    Load("1b", 8, 128, 64, {TRANSFORMERS: 1.6, LLAMA_CPP: 2.0}),
    Load("1b", 32, 128, 64, {TRANSFORMERS: 1.6, LLAMA_CPP: 2.0}),
    Load("1b", 1, 512, 1, {LLAMA_CPP: 2.5}),
)


@dataclass(frozen=True)
class Round:
    """One burst to one server. tokens_per_s: new tokens over the wall time, or prompt tokens over it for prefill."""

    load: Load
    server: str
    tokens_per_s: float
    ttft_s: float
    itl_s: float | None


class Prompts:
    """Passages of held-out text of any length in tokens, never the same one twice."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        lines = (DEMO / "heldout.jsonl").read_text("utf-8").splitlines()
        self._tokenizer = tokenizer
        self._ids = tokenizer("\n".join(json.loads(line)["text"] for line in lines)).input_ids
        self._random = random.Random(0)
        self._used: set[int] = set()

    def draw(self, count: int, tokens: int) -> list[str]:
        """Return texts that are `tokens` tokens long, also when they are encoded again."""
        texts: list[str] = []
        while len(texts) < count:
            start = self._random.randrange(len(self._ids) - tokens)
            text = self._tokenizer.decode(self._ids[start : start + tokens])
            if start not in self._used and len(self._tokenizer(text).input_ids) == tokens:
                self._used.add(start)
                texts.append(text)
        return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-python", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--repetitions-of-1b", type=int, default=2)
    options = parser.parse_args()
    repetitions = {"66m": options.repetitions, "1b": options.repetitions_of_1b}
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as work:
        for shape, times in repetitions.items():
            checkpoint = write_checkpoint(shape, Path(work) / shape)
            gguf = write_gguf(options.llama_python, checkpoint) if options.llama_python else None
            with serving(checkpoint, gguf, options.llama_python) as servers:
                prompts = Prompts(AutoTokenizer.from_pretrained(checkpoint))
                rounds += measure([load for load in LOADS if load.shape == shape], servers, prompts, checkpoint, times)
    report(rounds, repetitions)


def write_gguf(python: Path, checkpoint: Path) -> Path:
    gguf = checkpoint.with_suffix(".gguf")
    subprocess.run([python, Path(__file__).with_name("random_gguf.py"), checkpoint, gguf], check=True)
    return gguf


def measure(
    loads: list[Load], servers: dict[str, Server], prompts: Prompts, checkpoint: Path, repetitions: int
) -> list[Round]:
    """Ask every server for every load; the first, short burst to each warms it up."""
    rounds = []
    for server in servers.values():
        asyncio.run(burst(Load(loads[0].shape, 2, 32, 8, {}), server, prompts, checkpoint))
    for repetition in range(repetitions):
        for load in loads:
            asked = [server for name, server in servers.items() if name == OURS or name in load.targets]
            for server in asked if repetition % 2 else reversed(asked):
                rounds.append(asyncio.run(burst(load, server, prompts, checkpoint)))
                print(rounds[-1], flush=True)
    return rounds


async def burst(load: Load, server: Server, prompts: Prompts, checkpoint: Path) -> Round:
    """Send all prompts at once; tokens are the server's own count, or what was asked for where it gives none."""
    model = str(checkpoint) if server.name == TRANSFORMERS else "tgi"
    body = {"model": model, "max_tokens": load.new_tokens, "temperature": 0}
    texts = prompts.draw(load.streams, load.prompt_tokens)
    with server.resumed():
        started = time.perf_counter()
        answers: list[Stream] = await asyncio.gather(
            *(stream_completion(server.port, {**body, "prompt": text}) for text in texts)
        )
        wall_s = time.perf_counter() - started
    tokens = load.streams * load.prompt_tokens if load.is_prefill else sum(answer.tokens for answer in answers)
    gaps_s = [gap for answer in answers for gap in answer.gaps_s]
    # A last token whose bytes end no character has no text.
    ttfts_s = [answer.ttft_s for answer in answers if answer.arrivals_s] or [wall_s]
    return Round(
        load=load,
        server=server.name,
        tokens_per_s=tokens / wall_s,
        ttft_s=statistics.median(ttfts_s),
        itl_s=statistics.median(gaps_s) if gaps_s else None,
    )


def report(rounds: list[Round], repetitions: dict[str, int]) -> None:
    machine = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "repetitions": repetitions,
        "versions": {name: version(name) for name in ("tgi-autoround", "torch", "transformers", "auto-round-lib")},
    }
    results = {"machine": machine, "rounds": [asdict(round_) for round_ in rounds]}
    (ROOT / "benchmarks" / "results" / "serve.json").write_text(json.dumps(results, indent=1) + "\n")
    table = "".join(f"{line}\n" for line in table_lines(rounds))
    print(table)
    page = ROOT / "docs" / "performance.md"
    page.write_text(TABLE.sub(lambda _: table, page.read_text("utf-8")), "utf-8")


def table_lines(rounds: list[Round]) -> Iterator[str]:
    """Medians over the repetitions; a ratio is the median of the ratios of neighbouring rounds."""
    yield "| shape | streams x prompt + new | server | tokens/s | ours / it (min-max) | target | TTFT ms | ITL ms |"
    yield "|---|---|---|---|---|---|---|---|"
    for load in LOADS:
        rounds_of = {
            server: [r for r in rounds if (r.load, r.server) == (load, server)] for server in (OURS, *load.targets)
        }
        for server, of_server in rounds_of.items():
            if of_server:
                figures = _figures(of_server, rounds_of[OURS], load.targets.get(server))
                yield f"| {_title(load)} | {server} | {figures} |"


def _title(load: Load) -> str:
    unit = " (prompt tokens/s)" if load.is_prefill else ""
    return f"{load.shape} | {load.streams} x {load.prompt_tokens} + {load.new_tokens}{unit}"


def _figures(rounds: list[Round], ours: list[Round], target: float | None) -> str:
    ratios = [a.tokens_per_s / b.tokens_per_s for a, b in zip(ours, rounds, strict=True)]
    verdict = "" if target is None else f"{target:g}" + ("" if statistics.median(ratios) >= target else ", **missed**")
    gaps_s = [round_.itl_s for round_ in rounds if round_.itl_s is not None]
    cells = [
        f"{statistics.median(r.tokens_per_s for r in rounds):.0f}",
        "" if target is None else f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        verdict,
        f"{1000 * statistics.median(r.ttft_s for r in rounds):.0f}",
        f"{1000 * statistics.median(gaps_s):.1f}" if gaps_s else "",
    ]
    return " | ".join(cells)


def cpu_name() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or [platform.processor()]
    return names[0]


if __name__ == "__main__":
    main()
