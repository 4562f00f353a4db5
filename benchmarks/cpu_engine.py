#!/usr/bin/env python3
"""How near the engine comes to a CPU's limits: start, memory, and a decode step against the time its bytes take.

    python benchmarks/cpu_engine.py CHECKPOINT [--cpu-compute int8]

- ready_s: from the command to the first 200 of /health, with the files in the page cache (started twice).
- resident_mb: after the first answer; beside the checkpoint's files, to which 600 MB and the cache may come.
- decode: in a process of its own, a step of the decoder at 160 tokens of context, beside the bytes of all layers and
  the head as they are stored, and the read bandwidth that the same process measures before and after. Each is the
  fastest of 20 times, which other work on the machine disturbs least.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

PORT = 8192
CONTEXT_TOKENS = 160
BATCHES = (1, 8, 32)
READ_BYTES = 2**30
ALLOWED_MB = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--cpu-compute", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--decode", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        print(json.dumps(decode_figures(options.checkpoint, options.cpu_compute)))
        return
    started(options)
    files_mb = sum(file.stat().st_size for file in options.checkpoint.glob("*.safetensors")) / 1e6
    figures: dict[str, Any] = {**started(options), "files_mb": round(files_mb), "allowed_mb": ALLOWED_MB}
    command = [sys.executable, __file__, str(options.checkpoint), "--cpu-compute", options.cpu_compute, "--decode"]
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    decode = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    print(json.dumps({**figures, "decode": json.loads(decode)}, indent=1))


def started(options: argparse.Namespace) -> dict[str, float]:
    command = [
        *("tgi-autoround", "serve", "--model-id", str(options.checkpoint), "--quantize", "auto-round"),
        *("--port", str(PORT), "--cpu-compute", options.cpu_compute),
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        while not is_healthy():
            if process.poll() is not None:
                sys.exit(f"the server ended with {process.returncode}")
            time.sleep(0.05)
        ready_s = time.perf_counter() - began
        ask()
        return {"ready_s": round(ready_s, 1), **resident_mb(process.pid)}
    finally:
        process.terminate()
        process.wait()


def is_healthy() -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health") as answer:
        return bool(answer.status == 200)
    return False


def ask() -> None:
    body = json.dumps({"inputs": "The quick brown fox", "parameters": {"max_new_tokens": 8}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/generate", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).read()


def resident_mb(pid: int) -> dict[str, float]:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {fields[0]: int(fields[1]) for fields in lines if fields[0] in ("VmRSS:", "RssAnon:", "VmHWM:")}
    return {
        "resident_mb": round(kib["VmRSS:"] * 1.024e-3),
        "of_it_anonymous_mb": round(kib["RssAnon:"] * 1.024e-3),
        "peak_resident_mb": round(kib["VmHWM:"] * 1.024e-3),
    }


def decode_figures(checkpoint: Path, cpu_compute: Any) -> dict[str, Any]:
    import torch

    from tgi_autoround.engine import EngineConfig, build_engine
    from tgi_autoround.engine.attention import StepLayout

    engine, _tokenizer, _config = build_engine(EngineConfig(checkpoint, cpu_compute=cpu_compute, max_batch_size=32))
    decoder, cache = engine._runner._model, engine._runner._cache
    streamed_bytes = sum(
        buffer.nbytes
        for layer in (*(part for block in decoder._weights.layers for part in _linears(block)), decoder._weights.head)
        for buffer in (*layer.buffers(), *layer.parameters())
    )
    before = read_bandwidth()
    step_s = {}
    for batch in BATCHES:
        positions = torch.full((batch,), CONTEXT_TOKENS)
        step = StepLayout(cache, positions, torch.ones(batch, 1, 1, CONTEXT_TOKENS + 1, dtype=torch.bool), ())
        inputs = {"input_ids": torch.full((1, batch), 700), "position_ids": positions[None], "step": step}
        step_s[batch] = _least_s(partial(decoder, **inputs, logits_to_keep=torch.arange(batch)))
    bandwidth = max(before, read_bandwidth())
    floor_s = streamed_bytes / bandwidth
    return {
        "streamed_mb": round(streamed_bytes / 1e6),
        "read_gb_per_s": round(bandwidth / 1e9, 1),
        "floor_ms": round(1000 * floor_s, 1),
        "step_ms": {batch: round(1000 * seconds, 1) for batch, seconds in step_s.items()},
        "floor_of_step_at_batch_1": round(floor_s / step_s[1], 2),
    }


def _linears(block: Any) -> tuple[Any, ...]:
    return block.qkv, block.o, block.gate_up, block.down


def read_bandwidth() -> float:
    """Bytes/s of summing memory that no cache holds, with torch's threads."""
    import torch

    memory = torch.ones(READ_BYTES // 4)
    return READ_BYTES / _least_s(memory.sum)


def _least_s(work: Any) -> float:
    import torch

    times = []
    with torch.inference_mode():
        for _ in range(20):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
