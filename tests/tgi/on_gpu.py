"""Layers of AutoRound checkpoints on a CUDA device, built as TGI's loader builds them and run from CUDA graphs.

    PYTHONPATH=src:tests/tgi/skeleton python -m tests.tgi.on_gpu CHECKPOINT...

For q/k/v fused, gate/up fused and down_proj cut for two ranks, in float16 and bfloat16: a graph is captured once and
replayed on fresh inputs; its output is compared with float64 over the dequantized weights. Exit code 1 beyond BOUND.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from text_generation_server.utils.weights import ProcessGroup, Weights
from torch import nn

from tgi_autoround.checkpoint import Checkpoint, open_checkpoint
from tgi_autoround.tgi.loader import AutoRoundWeightsLoader

CUDA = torch.device("cuda")
BOUND = {torch.float16: 0.0004, torch.bfloat16: 0.003}
"""Relative L2 error; docs/kernels.md says what is rounded."""
BATCHES = (1, 7, 32, 300)
Q_K_V = [f"model.layers.0.self_attn.{name}_proj" for name in "qkv"]
GATE_UP = [f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up")]
DOWN = "model.layers.0.mlp.down_proj"


def main() -> None:
    print("| checkpoint | dtype | layer | kernels | largest error |\n|---|---|---|---|---|")
    beyond = 0
    for folder in map(Path, sys.argv[1:]):
        checkpoint = open_checkpoint(folder)
        for dtype, bound in BOUND.items():
            for name, linear, expected in _layers(checkpoint, dtype):
                error = max(_error(linear, expected, batch, dtype) for batch in BATCHES)
                print(f"| {folder.name} | {dtype} | {name} | {_kernels(linear)} | {error:.5f} |", flush=True)
                beyond += error > bound
    sys.exit(f"{beyond} layers beyond the bound" if beyond else 0)


def _layers(checkpoint: Checkpoint, dtype: torch.dtype) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    whole = _weights(checkpoint, dtype, rank=0, ranks=1)
    yield "q/k/v", whole.get_multi_weights_col(Q_K_V, 0).get_linear(None), _dense(checkpoint, Q_K_V)
    yield "gate/up", whole.get_multi_weights_col(GATE_UP, 0).get_linear(None), _dense(checkpoint, GATE_UP)
    half = _weights(checkpoint, dtype, rank=1, ranks=2)
    dense = _dense(checkpoint, [DOWN])
    dense.weight = nn.Parameter(dense.weight.chunk(2, dim=1)[1])
    dense.bias = None
    yield "down, second of two ranks", half.get_weights_row(DOWN).get_linear(None), dense


def _weights(checkpoint: Checkpoint, dtype: torch.dtype, rank: int, ranks: int) -> Weights:
    files = sorted(set(checkpoint.file_of.values()))
    return Weights(files, CUDA, dtype, ProcessGroup(rank, ranks), AutoRoundWeightsLoader(checkpoint))


def _dense(checkpoint: Checkpoint, layers: list[str]) -> nn.Linear:
    parts = [checkpoint.load_layer(layer) for layer in layers]
    weight = torch.cat([part.dequantize().double() for part in parts])
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = nn.Parameter(weight.to(CUDA), requires_grad=False)
    biases = [part.bias if part.bias is not None else torch.zeros(part.spec.out_features) for part in parts]
    linear.bias = nn.Parameter(torch.cat([bias.double() for bias in biases]).to(CUDA), requires_grad=False)
    return linear


@torch.no_grad()
def _error(linear: nn.Module, expected: nn.Module, batch: int, dtype: torch.dtype) -> float:
    static = torch.zeros(batch, linear.in_features, device=CUDA, dtype=dtype)
    linear(static)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = linear(static)
    errors = []
    for _ in range(3):
        static.normal_()
        output.fill_(float("nan"))
        graph.replay()
        wanted = expected(static.double())
        errors.append(((output.double() - wanted).norm() / wanted.norm()).item())
    return max(errors, key=lambda error: float("inf") if error != error else error)


def _kernels(linear: nn.Module) -> str:
    kernels = {module.kernel.name for module in linear.modules() if hasattr(module, "kernel")}
    return ", ".join(sorted(kernels)) or "torch"


if __name__ == "__main__":
    main()
