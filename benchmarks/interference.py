#!/usr/bin/env python3
"""How long a stream waits for its next token while another request's long prompt is computed beside it.

    python benchmarks/random_checkpoint.py 1b /tmp/1b
    python benchmarks/interference.py /tmp/1b

In one process with the engine, without HTTP. Printed: the pause between two tokens of a stream that has the engine for
itself (median), and of the same stream while the prompt enters (99th percentile, and the largest); how long the prompt
took, beside a run of it alone.
"""

import argparse
import random
import statistics
import threading
import time
from pathlib import Path

from tgi_autoround.engine import Engine, EngineConfig, Failure, Output, Request, SamplingParams, build_engine

WARM_TOKENS = 10
UNDISTURBED_TOKENS = 60


class Stream:
    """Notes when tokens arrive."""

    def __init__(self, engine: Engine, prompt_ids: list[int], max_new_tokens: int) -> None:
        self._engine = engine
        self._arrived = threading.Condition()
        self.times_s: list[float] = []
        self.request = Request(prompt_ids, SamplingParams(max_new_tokens=max_new_tokens))
        self.started_s = time.perf_counter()
        engine.submit(self.request, self._on_event)

    def wait_for(self, tokens: int) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.times_s) >= tokens)

    def leave(self) -> None:
        self._engine.cancel(self.request)

    def pauses_s(self, begin_s: float, end_s: float) -> list[float]:
        """Pauses that end between two moments."""
        pairs = zip(self.times_s, self.times_s[1:], strict=False)
        return [after - before for before, after in pairs if begin_s < after <= end_s]

    def _on_event(self, event: Output | Failure) -> None:
        if isinstance(event, Failure):
            raise SystemExit(event.message)
        with self._arrived:
            self.times_s.append(time.perf_counter())
            self._arrived.notify_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--prompt-tokens", type=int, default=2048)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    config = EngineConfig(options.model_dir, max_total_tokens=options.prompt_tokens + 1024, threads=options.threads)
    engine, tokenizer, _config = build_engine(config)
    engine.start()
    ids = random.Random(0)

    def prompt(tokens: int) -> list[int]:
        return [ids.randrange(3, min(len(tokenizer), 2000)) for _ in range(tokens)]

    alone = Stream(engine, prompt(options.prompt_tokens), 1)
    alone.wait_for(1)
    print(f"prompt of {options.prompt_tokens} tokens alone: {alone.times_s[0] - alone.started_s:.2f} s")
    for round_ in range(options.rounds):
        streams = [Stream(engine, prompt(64), 1000) for _ in range(options.streams)]
        for stream in streams:
            stream.wait_for(WARM_TOKENS + UNDISTURBED_TOKENS)
        begin_s = streams[-1].times_s[WARM_TOKENS]
        other = Stream(engine, prompt(options.prompt_tokens), 1)
        other.wait_for(1)
        for stream in streams:
            stream.leave()
        quiet = [pause for stream in streams for pause in stream.pauses_s(begin_s, other.started_s)]
        busy = [pause for stream in streams for pause in stream.pauses_s(other.started_s, other.times_s[0])]
        median_s, p99_s = statistics.median(quiet), statistics.quantiles(busy, n=100)[98]
        print(
            f"round {round_}: undisturbed median {median_s * 1e3:.1f} ms; beside the prompt median "
            f"{statistics.median(busy) * 1e3:.1f}, p99 {p99_s * 1e3:.1f}, largest {max(busy) * 1e3:.1f} ms = "
            f"{p99_s / median_s:.2f}x ({len(busy)} pauses); the prompt took {other.times_s[0] - other.started_s:.2f} s"
        )
    engine.stop()


if __name__ == "__main__":
    main()
