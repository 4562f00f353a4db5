#!/usr/bin/env python3
"""Output tokens/s, TTFT and ITL of `tgi-autoround serve` beside `transformers serve` on the same W4 checkpoints.

    python benchmarks/serve.py [--repetitions 5]

Both servers of a model are up together and asked in turns, so that what else the machine does falls on both; one is
idle while the other works. Greedy, prompts of 128 tokens, 64 new ones. Writes benchmarks/results/serve.json and
renews the table in docs/performance.md.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from sse_client import Stream, stream_completion
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "assets" / "demo-model"
STREAMS = (1, 8, 32)
PROMPT_TOKENS, NEW_TOKENS = 128, 64
PORTS = {"tgi-autoround": 8181, "transformers serve": 8182}
SHAPE_66M = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 10,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}
TABLE = re.compile(r"(?<=<!-- table:begin -->\n).*(?=<!-- table:end -->)", re.DOTALL)


@dataclass(frozen=True)
class Round:
    """One burst of `streams` simultaneous requests to one server."""

    model: str
    server: str
    streams: int
    tokens_per_s: float
    ttft_s: float
    itl_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as work:
        sources = {"demo, 6M": DEMO, "random, 66M": make_random_model(Path(work) / "random-66m")}
        for name, source in sources.items():
            checkpoint = quantize(source, Path(work) / f"{source.name}-w4")
            rounds += measure(name, checkpoint, repetitions)
    report(rounds, repetitions)


def make_random_model(path: Path) -> Path:
    """Write a random Llama of 66 M parameters with the demo model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=2048, bos_token_id=0, eos_token_id=None, **SHAPE_66M
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).half().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def quantize(source: Path, out: Path) -> Path:
    """Round to W4 g128 with the command that users run."""
    command = ["tgi-autoround", "quantize", str(source), str(out), "--recipe", "rtn"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def measure(name: str, checkpoint: Path, repetitions: int) -> list[Round]:
    prompts = make_prompts(checkpoint, max(STREAMS))
    rounds = []
    with serving(checkpoint):
        for repetition in range(-1, repetitions):
            for streams in STREAMS:
                for server in PORTS if repetition % 2 else reversed(PORTS):
                    result = asyncio.run(burst(name, server, str(checkpoint), prompts[:streams]))
                    if repetition >= 0:
                        rounds.append(result)
                        print(result, flush=True)
    return rounds


def make_prompts(checkpoint: Path, count: int) -> list[str]:
    """Passages of the held-out text that are PROMPT_TOKENS tokens long, and stay so when encoded again."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    lines = (DEMO / "heldout.jsonl").read_text("utf-8").splitlines()
    ids = tokenizer("\n".join(json.loads(line)["text"] for line in lines)).input_ids
    random_ = random.Random(0)
    prompts: list[str] = []
    while len(prompts) < count:
        start = random_.randrange(len(ids) - PROMPT_TOKENS)
        text = tokenizer.decode(ids[start : start + PROMPT_TOKENS])
        if len(tokenizer(text).input_ids) == PROMPT_TOKENS:
            prompts.append(text)
    return prompts


@contextlib.contextmanager
def serving(checkpoint: Path) -> Iterator[None]:
    ours, peer = PORTS.values()
    commands = (
        ["tgi-autoround", "serve", "--model-id", str(checkpoint), "--quantize", "auto-round", "--port", str(ours)],
        [
            *("transformers", "serve", str(checkpoint), "--continuous-batching", "--port", str(peer)),
            *("--cb-block-size", "32", "--cb-num-blocks", "1024", "--cb-max-batch-tokens", "512"),
        ],
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        for port in PORTS.values():
            wait_until_healthy(port)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def wait_until_healthy(port: int, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    sys.exit(f"no server came up on port {port} in {timeout_s} s")


async def burst(model: str, server: str, checkpoint: str, prompts: list[str]) -> Round:
    """Send all prompts at once. Tokens are the servers' own counts; an answer that ends early counts as it is."""
    body = {"model": "tgi" if server == "tgi-autoround" else checkpoint, "max_tokens": NEW_TOKENS, "temperature": 0}
    started = time.perf_counter()
    answers: list[Stream] = await asyncio.gather(
        *(stream_completion(PORTS[server], {**body, "prompt": prompt}) for prompt in prompts)
    )
    wall_s = time.perf_counter() - started
    return Round(
        model=model,
        server=server,
        streams=len(prompts),
        tokens_per_s=sum(answer.tokens for answer in answers) / wall_s,
        ttft_s=statistics.median(answer.ttft_s for answer in answers if answer.arrivals_s),
        itl_s=statistics.median(gap for answer in answers for gap in answer.gaps_s),
    )


def report(rounds: list[Round], repetitions: int) -> None:
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
    """Medians over the repetitions; the ratio is the median of the ratios of neighbouring rounds."""
    yield "| model, W4 g128 | streams | tokens/s | peer | ratio (min-max) | TTFT ms | peer | ITL ms | peer |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for model in dict.fromkeys(round_.model for round_ in rounds):
        for streams in STREAMS:
            ours, peer = (
                [r for r in rounds if (r.model, r.server, r.streams) == (model, server, streams)] for server in PORTS
            )
            ratios = [a.tokens_per_s / b.tokens_per_s for a, b in zip(ours, peer, strict=True)]
            cells = [
                *(f"{statistics.median(r.tokens_per_s for r in side):.0f}" for side in (ours, peer)),
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                *(f"{1000 * statistics.median(r.ttft_s for r in side):.0f}" for side in (ours, peer)),
                *(f"{1000 * statistics.median(r.itl_s for r in side):.1f}" for side in (ours, peer)),
            ]
            yield f"| {model} | {streams} | {' | '.join(cells)} |"


def cpu_name() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or [platform.processor()]
    return names[0]


if __name__ == "__main__":
    main()
