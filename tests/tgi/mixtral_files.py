"""A tiny Mixtral's experts as AutoRound would write them in any scheme: random codes, no model behind them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tgi_autoround.checkpoint.packing import pack_stream

EXPERTS, HIDDEN, INTERMEDIATE = 4, 128, 256
BLOCK = "model.layers.0.block_sparse_moe"
Tensors = dict[str, torch.Tensor]


def write(
    folder: Path,
    *,
    bits: int = 4,
    sym: bool = True,
    group_size: int = 32,
    hidden: int = HIDDEN,
    intermediate: int = INTERMEDIATE,
    model_type: str = "mixtral",
    bits_of: Mapping[str, int] | None = None,
) -> Path:
    """Return the folder, with experts of `hidden` inputs; `bits_of`: layers of another width, such as `3.w2`."""
    random = torch.Generator().manual_seed(0)
    tensors: Tensors = {}
    widths = {f"{BLOCK}.experts.{name}": width for name, width in (bits_of or {}).items()}
    for expert in range(EXPERTS):
        for name in ("w1", "w2", "w3"):
            shape = (intermediate, hidden) if name == "w2" else (hidden, intermediate)
            layer = f"{BLOCK}.experts.{expert}.{name}"
            parts = _layer(shape, widths.get(layer, bits), sym, group_size, random)
            tensors.update({f"{layer}.{part}": tensor for part, tensor in parts.items()})
    save_file(tensors, folder / "model.safetensors")
    quantization: dict[str, Any] = {
        "quant_method": "auto-round",
        "packing_format": "auto_round:auto_gptq",
        "bits": bits,
        "group_size": group_size,
        "sym": sym,
        "block_name_to_quantize": "model.layers",
        "extra_config": {layer: {"bits": width} for layer, width in widths.items()},
    }
    config = {"model_type": model_type, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _layer(
    shape: tuple[int, int], bits: int, sym: bool, group_size: int, random: torch.Generator
) -> dict[str, torch.Tensor]:
    rows, columns = shape
    groups = rows // group_size if group_size > 0 else 1
    codes = torch.randint(1 << bits, shape, generator=random, dtype=torch.uint8)
    zeros = torch.randint(1 << bits, (columns, groups), generator=random, dtype=torch.uint8)
    if sym:
        zeros.fill_((1 << (bits - 1)) - 1)
    spread = torch.randn(groups, columns, generator=random) * 2 / (1 << bits) / rows**0.5
    return {
        "qweight": pack_stream(codes, bits),
        "qzeros": pack_stream(zeros, bits).t().contiguous(),
        "scales": spread.half(),
    }
