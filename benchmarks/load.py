#!/usr/bin/env python3
"""How fast packed files become layers that are ready to run, and how much memory that takes on the way.

    python benchmarks/load.py                  # 2 threads of the CPU
    python benchmarks/load.py --device cuda

Makes a random W4 g128 checkpoint in the shape of a 1.1B Llama, in shards, loads its quantized layers from the warm
file several times, and prints medians as JSON. Needs torch, safetensors and transformers alone.

- load: from the open checkpoint to layers on the device; MB/s counts the bytes of qweight, qzeros and scales.
- copy: the same bytes read and copied to the device, nothing unpacked. On the CPU they are copied once in memory.
- peak extra memory: in a process of its own. On the CPU the largest anonymous resident memory (RssAnon, sampled from
  outside every half millisecond) beyond what was there before and what the layers hold in the end; on CUDA the
  allocator's own peak beyond the same.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from select import select as wait_for
from typing import Any

import torch
from safetensors.torch import save_file

from tgi_autoround.allocator import returning_large_blocks
from tgi_autoround.checkpoint import Checkpoint, open_checkpoint
from tgi_autoround.kernels import select
from tgi_autoround.linear import QLinear

HIDDEN, INTERMEDIATE, BLOCKS, KV, VOCABULARY = 2048, 5632, 22, 256, 32000
GROUP_SIZE, BITS = 128, 4
BLOCKS_PER_SHARD = 8
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, KV),
    "self_attn.v_proj": (HIDDEN, KV),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, INTERMEDIATE),
    "mlp.up_proj": (HIDDEN, INTERMEDIATE),
    "mlp.down_proj": (INTERMEDIATE, HIDDEN),
}
LARGEST_FP16_BYTES = max(2 * k * n for k, n in SHAPES.values())
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": VOCABULARY,
    "quantization_config": {
        "quant_method": "auto-round",
        "packing_format": "auto_round:auto_gptq",
        "bits": BITS,
        "group_size": GROUP_SIZE,
        "sym": True,
        "data_type": "int",
        "block_name_to_quantize": "model.layers",
    },
}
STORED_ZEROS = 0x77777777
SAMPLING_INTERVAL_S = 0.0005


@dataclass(frozen=True)
class Result:
    """Medians over the repetitions; sizes of the largest layer are those it would have in fp16."""

    device: str
    kernel: str
    packed_mb: float
    load_mb_per_s: float
    copy_mb_per_s: float
    load_of_copy: float
    peak_extra_mb: float
    peak_extra_of_largest_layer: float
    threads: int
    load_average: float
    torch: str
    cpu: str


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    if options.measure_memory_of:
        _load_watched(options.measure_memory_of, device)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        print(json.dumps(asdict(_measured(_write_checkpoint(Path(directory)), device, options)), indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where the checkpoint of 0.6 GB is made; default: temporary")
    parser.add_argument("--measure-memory-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _write_checkpoint(directory: Path) -> Path:
    torch.manual_seed(0)
    blocks = [range(start, min(start + BLOCKS_PER_SHARD, BLOCKS)) for start in range(0, BLOCKS, BLOCKS_PER_SHARD)]
    weight_map = {}
    for index, shard in enumerate(blocks):
        file = f"model-{index + 1:05}-of-{len(blocks):05}.safetensors"
        tensors = {name: tensor for block in shard for name, tensor in _block_tensors(block).items()}
        save_file(tensors, directory / file)
        weight_map.update(dict.fromkeys(tensors, file))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "config.json").write_text(json.dumps(CONFIG))
    return directory


def _block_tensors(block: int) -> dict[str, torch.Tensor]:
    tensors = {}
    for layer, (k, n) in SHAPES.items():
        name, words, groups = f"model.layers.{block}.{layer}", k * BITS // 32, k // GROUP_SIZE
        tensors[f"{name}.qweight"] = torch.randint(-(2**31), 2**31, (words, n), dtype=torch.int64).to(torch.int32)
        tensors[f"{name}.qzeros"] = torch.full((groups, n * BITS // 32), STORED_ZEROS, dtype=torch.int32)
        tensors[f"{name}.scales"] = torch.randn(groups, n).mul_(0.01).half()
    return tensors


def _measured(model_dir: Path, device: torch.device, options: argparse.Namespace) -> Result:
    packed_bytes = sum(file.stat().st_size for file in model_dir.glob("*.safetensors"))
    layers = _load(open_checkpoint(model_dir), device)
    kernels = {layer.kernel.name for layer in layers}
    del layers
    load_s = _median_s(lambda checkpoint: _load(checkpoint, device), model_dir, device, options.repetitions)
    copy_s = _median_s(lambda checkpoint: _copy(checkpoint, device), model_dir, device, options.repetitions)
    extra_bytes = _peak_extra_bytes(model_dir, options)
    return Result(
        device=torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        kernel=", ".join(sorted(kernels)),
        packed_mb=round(packed_bytes / 1e6, 1),
        load_mb_per_s=round(packed_bytes / 1e6 / load_s, 1),
        copy_mb_per_s=round(packed_bytes / 1e6 / copy_s, 1),
        load_of_copy=round(copy_s / load_s, 3),
        peak_extra_mb=round(extra_bytes / 1e6, 1),
        peak_extra_of_largest_layer=round(extra_bytes / LARGEST_FP16_BYTES, 2),
        threads=options.threads,
        load_average=round(os.getloadavg()[0], 2),
        torch=torch.__version__,
        cpu=_cpu_name(),
    )


def _load(checkpoint: Checkpoint, device: torch.device) -> list[QLinear]:
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    with returning_large_blocks():
        return [
            QLinear(checkpoint.load_layer(name, device), select(spec, device, dtype), device, dtype)
            for name, spec in checkpoint.quantized_layers.items()
        ]


def _copy(checkpoint: Checkpoint, device: torch.device) -> list[torch.Tensor]:
    return [checkpoint.read_tensor(name).to(device, copy=True) for name in checkpoint.tensors]


def _median_s(
    work: Callable[[Checkpoint], list[Any]], model_dir: Path, device: torch.device, repetitions: int
) -> float:
    times_s = []
    for _ in range(repetitions):
        checkpoint = open_checkpoint(model_dir)
        start = time.perf_counter()
        result = work(checkpoint)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start)
        del result
    return statistics.median(times_s)


def _peak_extra_bytes(model_dir: Path, options: argparse.Namespace) -> int:
    """Watch a process of its own from outside: kernels may hold its interpreter's lock while they work."""
    command = [sys.executable, __file__, "--device", options.device, "--threads", str(options.threads)]
    command += ["--measure-memory-of", str(model_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        before_bytes, peak_bytes = int(process.stdout.readline()), 0
        while not wait_for([process.stdout], [], [], SAMPLING_INTERVAL_S)[0]:
            peak_bytes = max(peak_bytes, _anonymous_bytes(process.pid))
        held_bytes, peak_on_device_bytes = map(int, process.stdout.readline().split())
    return (peak_on_device_bytes or peak_bytes - before_bytes) - held_bytes


def _load_watched(model_dir: Path, device: torch.device) -> None:
    """Print the memory before loading; then load, and print what the layers hold and CUDA's own peak, 0 without it."""
    checkpoint = open_checkpoint(model_dir)
    _warm_up(checkpoint, device)
    print(_anonymous_bytes(os.getpid()), flush=True)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before_bytes = torch.cuda.memory_allocated()
    layers = _load(checkpoint, device)
    peak_bytes = torch.cuda.max_memory_allocated() - before_bytes if device.type == "cuda" else 0
    print(sum(buffer.nbytes for layer in layers for buffer in layer.buffers()), peak_bytes, flush=True)


def _warm_up(checkpoint: Checkpoint, device: torch.device) -> None:
    """What libraries allocate once (threads, contexts, code) is no part of loading."""
    name = next(name for name in checkpoint.quantized_layers if name.endswith("k_proj"))
    spec = checkpoint.quantized_layers[name]
    QLinear(checkpoint.load_layer(name, device), select(spec, device, torch.float32), device, torch.float32)


def _anonymous_bytes(process_id: int) -> int:
    """RssAnon leaves out pages of the file that is being read, which are the page cache's."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{process_id}/status has no RssAnon")


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
