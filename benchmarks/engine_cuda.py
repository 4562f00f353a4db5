#!/usr/bin/env python3
"""The engine on this machine's GPU: an 8B Llama shape in W4 and bfloat16, beside transformers' continuous batching.

    python benchmarks/engine_cuda.py [--check MODEL] [--layers 32] [--skip-peer | --skip-times]

Weights are random and never leave the GPU. Times steps by batch size against the time that reading all weights takes
at the bandwidth measured in the same run, then bursts of requests through the engine, and checks output of a small
model. Prints tables and writes benchmarks/results/engine_cuda.json; exits with 1 where output is wrong.
"""

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
import triton
from engine_cuda_bursts import burst_of_engine, burst_of_transformers
from engine_cuda_check import check_output
from engine_cuda_models import CUDA, MAX_TOKENS, SHAPE_8B, bytes_a_step, packed_decoder, random_model
from engine_cuda_steps import bandwidth, kernel_times, round_trip_ms, step_ms
from random_checkpoint import write_tokenizer
from transformers import AutoTokenizer

from tgi_autoround.engine.cuda.decoder import CudaDecoder
from tgi_autoround.engine.cuda.graphs import DecodeGraphs
from tgi_autoround.engine.decoder import DecoderWeights, read
from tgi_autoround.engine.kv_cache import KVCache

RESULTS = Path(__file__).parent / "results/engine_cuda.json"
STREAMS = (1, 8, 32)
DEMO = Path(__file__).resolve().parent.parent / "assets/demo-model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=SHAPE_8B["num_hidden_layers"])
    parser.add_argument("--skip-peer", action="store_true", help="leave transformers' continuous batching out")
    parser.add_argument("--skip-times", action="store_true", help="check output only, and write no results")
    parser.add_argument("--check", type=Path, default=DEMO, metavar="MODEL", help="its greedy output is checked")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    output = _shown("output", check_output(options.check))
    if not options.skip_times:
        measure_all(options, output)
    sys.exit("\n".join(output["wrong"]) or 0)


def measure_all(options: argparse.Namespace, output: dict[str, Any]) -> None:
    """Write results after each part, so that one which fails costs no other."""
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(CUDA),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "transformers": transformers.__version__,
        "layers": options.layers,
        "output": output,
        "bandwidth": bandwidth(),
    }
    print(json.dumps(found), flush=True)
    for name, part in measurements(options, found["bandwidth"]["read"]):
        found[name] = part
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def measurements(options: argparse.Namespace, bytes_a_second: float) -> Iterator[tuple[str, Any]]:
    """Yield each part's name and figures. The engine takes its model apart, so transformers gets another one."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), SHAPE_8B["vocab_size"])
        tokenizer = AutoTokenizer.from_pretrained(folder)
    model = random_model(options.layers)
    config, weights = model.config, read(model)
    assert not isinstance(weights, str), weights
    with torch.inference_mode():
        packed = packed_decoder(weights)
    yield "W4", measure("W4", packed, config, tokenizer, bytes_a_second)
    del packed
    yield "bf16", measure("bf16", weights, config, tokenizer, bytes_a_second)
    del model, weights
    gc.collect()
    torch.cuda.empty_cache()
    if not options.skip_peer:
        model = random_model(options.layers)
        with torch.no_grad():
            bursts = [_shown("transformers bf16", burst_of_transformers(model, streams)) for streams in STREAMS]
        yield "transformers bf16", bursts


def measure(name: str, weights: DecoderWeights, config: Any, tokenizer: Any, bytes_a_second: float) -> dict[str, Any]:
    """Return step times, the kernels' share of one, and bursts."""
    cache = KVCache(config, max(STREAMS), MAX_TOKENS, weights.embedding.dtype, CUDA)
    with torch.inference_mode():
        graphs = DecodeGraphs(CudaDecoder(weights, cache), STREAMS, CUDA)
    floor_ms = bytes_a_step(weights) / bytes_a_second * 1000
    steps = []
    for batch in STREAMS:
        ms = step_ms(graphs, batch)
        step = {
            "batch": batch,
            "ms": ms,
            "round_trip_ms": round_trip_ms(graphs, batch),
            "tokens_per_s": batch / ms * 1000,
            "floor_over_step": floor_ms / ms,
        }
        steps.append(_shown(f"{name} step", step))
    kernels = {batch: kernel_times(graphs, batch) for batch in STREAMS}
    for each in kernels[1][:12]:
        print(f"  {each['us']:8.1f} us in {each['launches']:4} launches of {each['kernel']}")
    bursts = [_shown(name, burst_of_engine(weights, cache, tokenizer, streams)) for streams in STREAMS]
    return {
        "bytes": bytes_a_step(weights),
        "floor_ms": floor_ms,
        "steps": steps,
        "kernels": kernels,
        "bursts": bursts,
    }


def _shown(name: str, measured: dict[str, Any]) -> dict[str, Any]:
    short = {key: round(value, 4) if isinstance(value, float) else value for key, value in measured.items()}
    print(name, json.dumps(short), flush=True)
    return measured


if __name__ == "__main__":
    main()
