"""Layers of AutoRound checkpoints through the real modules of TGI's Gaudi server; runs under TGI's own Python.

    python tests/upstream/gaudi_layers.py --ranks 2 CHECKPOINT...

Its Weights, parallel linears and head are used as a model file uses them, on tensors of a CPU, with Gaudi's 4-bit op
emulated and gloo for its collectives. PYTHONPATH must hold TGI's patched backends/gaudi/server with generated `pb`,
tests/upstream/gaudi_doubles and scripts/lib. Prints, as JSON, the largest error of every layer relative to float64.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing

import hpu_emulation

Q_K_V = [f"model.layers.0.self_attn.{name}_proj" for name in "qkv"]
UP, DOWN = (f"model.layers.0.mlp.{name}_proj" for name in ("up", "down"))
HEAD = "lm_head"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    arguments = parser.parse_args()
    torch.multiprocessing.spawn(_rank, (arguments.ranks, arguments.checkpoints), nprocs=arguments.ranks)


def _rank(rank: int, ranks: int, checkpoints: list[Path]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29513"}
    torch.set_grad_enabled(False)
    hpu_emulation.register()
    torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    for checkpoint in checkpoints:
        errors = dict(_errors(checkpoint, rank, ranks))
        if rank == 0:
            json.dump({"checkpoint": checkpoint.name, "errors": errors}, sys.stdout)
            print(flush=True)


def _errors(folder: Path, rank: int, ranks: int) -> Iterator[tuple[str, float]]:
    from text_generation_server.layers.tensor_parallel import (
        TensorParallelColumnLinear,
        TensorParallelHead,
        TensorParallelRowLinear,
    )

    weights, config = _weights(folder, ranks)
    fused = TensorParallelColumnLinear.load_multi(config, Q_K_V, weights, bias=False, dim=0)
    yield "q/k/v", _error(fused, weights, Q_K_V, columns_of=(rank, ranks))
    yield "up", _error(TensorParallelColumnLinear.load(config, UP, weights, bias=False), weights, [UP], (rank, ranks))
    row = TensorParallelRowLinear.load(config, DOWN, weights, bias=False)
    yield "down", _error(row, weights, [DOWN], rows_of=(rank, ranks))
    yield "head", _error(TensorParallelHead.load(config, HEAD, weights), weights, [HEAD])
    unsplit = SimpleNamespace(forward=weights.get_multi_weights(Q_K_V, 0).get_linear(None))
    yield "q/k/v, unsplit", _error(unsplit, weights, Q_K_V)


def _weights(folder: Path, ranks: int) -> tuple[Any, Any]:
    """As FlashCausalLM makes them, with kernels that take tensors of a CPU for a card's."""
    from text_generation_server.utils.dist import FakeGroup
    from text_generation_server.utils.quantization import get_loader
    from text_generation_server.utils.weights import Weights

    from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
    from tgi_autoround.tgi import hooks, weight

    weight.KERNELS = (HpuUint4Kernel("cpu"), HpuInt8Kernel("cpu"))
    model_id, revision, quantize = hooks.resolve_model(str(folder), None, "auto-round")
    group = torch.distributed.group.WORLD if ranks > 1 else FakeGroup(0, 1)
    loader = get_loader(quantize, model_id, revision)
    files = sorted(folder.glob("*.safetensors"))
    return Weights(files, torch.device("cpu"), torch.float32, group, loader), SimpleNamespace(quantize=quantize)


def _error(
    layer: Any,
    weights: Any,
    names: list[str],
    columns_of: tuple[int, int] = (0, 1),
    rows_of: tuple[int, int] = (0, 1),
) -> float:
    """Return the relative L2 error of a layer whose outputs (columns) or inputs (rows) are split over ranks."""
    dense = [_dense(weights, name) for name in names]
    x = torch.randn(3, dense[0].shape[1], generator=torch.Generator().manual_seed(0))
    rank, ranks = columns_of
    wanted = torch.cat([(x.double() @ weight.t()).chunk(ranks, dim=-1)[rank] for weight in dense], dim=-1)
    rank, ranks = rows_of
    output = layer.forward(x.chunk(ranks, dim=-1)[rank].contiguous())
    return ((output - wanted).norm() / wanted.norm()).item()


def _dense(weights: Any, name: str) -> torch.Tensor:
    """Return the weight as float64 [out_features, in_features]."""
    from tgi_autoround.checkpoint import open_checkpoint

    if not weights.has_tensor(f"{name}.qweight"):
        return weights.get_tensor(f"{name}.weight").double()
    file, _ = weights.get_filename(f"{name}.qweight")
    return open_checkpoint(Path(file).parent).load_layer(name).dequantize().double()


if __name__ == "__main__":
    main()
