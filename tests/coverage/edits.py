"""What is changed by hand in a checkpoint: `edit(folder, ...)` rewrites its files in place."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tgi_autoround.checkpoint.packing import pack_stream

Tensors = dict[str, torch.Tensor]


def config_says(folder: Path, fields: Mapping[str, Any]) -> None:
    """Lay `fields` over the quantization_config; None takes one out."""
    config = json.loads((folder / "config.json").read_text())
    quantization = {**config.get("quantization_config", {}), **fields}
    config["quantization_config"] = {name: value for name, value in quantization.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def shuffle_groups(folder: Path) -> None:
    """Scatter every layer's groups over its inputs, as GPTQ's act-order does."""
    random = torch.Generator().manual_seed(0)

    def shuffle(tensors: Tensors, layer: str) -> None:
        group = tensors[f"{layer}.g_idx"]
        tensors[f"{layer}.g_idx"] = group[torch.randperm(len(group), generator=random)].contiguous()

    _each_layer(folder, shuffle)
    config_says(folder, {"desc_act": True})


def random_codes(folder: Path, bits: int) -> None:
    """Put random codes and zero points of another width into every layer."""
    random = torch.Generator().manual_seed(0)

    def replace(tensors: Tensors, layer: str) -> None:
        groups, columns = tensors[f"{layer}.scales"].shape
        codes = torch.randint(1 << bits, (len(tensors[f"{layer}.g_idx"]), columns), generator=random)
        zeros = torch.randint(1 << bits, (columns, groups), generator=random)
        tensors[f"{layer}.qweight"] = pack_stream(codes.to(torch.uint8), bits)
        tensors[f"{layer}.qzeros"] = pack_stream(zeros.to(torch.uint8), bits).t().contiguous()
        tensors[f"{layer}.scales"] /= 1 << (bits - 4)

    _each_layer(folder, replace)
    config_says(folder, {"bits": bits})


def highest_zero_points(folder: Path) -> None:
    """Store the highest zero point in every other output: one more than a code of that width can hold."""

    def raise_zeros(tensors: Tensors, layer: str) -> None:
        zeros = tensors[f"{layer}.qzeros"]
        zeros[:, ::2] = -1

    _each_layer(folder, raise_zeros)


def pack_linears(folder: Path, blocks: str, *, kept: Sequence[str] = (), transposed: bool = False) -> None:
    """Round every matrix of a floating-point model's blocks, but those whose name ends as `kept` says, to 4 bits.

    Groups are of 32. `transposed` matrices lie as [in_features, out_features] in the file.
    """
    tensors = load_file(folder / "model.safetensors")
    weights = [name for name in tensors if name.startswith(blocks) and name.endswith(".weight")]
    layers = [name.removesuffix(".weight") for name in weights if tensors[name].dim() == 2]
    for layer in layers:
        if layer.endswith(tuple(kept)):
            continue
        weight = tensors.pop(f"{layer}.weight")
        parts = _rounded(weight.t() if transposed else weight)
        tensors.update({f"{layer}.{part}": tensor for part, tensor in parts.items()})
    save_file(tensors, folder / "model.safetensors")
    fields = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "block_name_to_quantize": blocks}
    in_16_bits = {"extra_config": {layer: {"bits": 16} for layer in layers if layer.endswith(tuple(kept))}}
    config_says(folder, {**fields, **in_16_bits, "bits": 4, "group_size": 32, "sym": True, "data_type": "int"})


def _rounded(weight: torch.Tensor) -> Tensors:
    """Symmetric: zero points of 8, which GPTQ's packing stores as 7."""
    groups = weight.float().t().reshape(-1, 32, weight.shape[0])
    scales = (groups.abs().amax(dim=1) / 7).half()
    codes = (groups / scales.float()[:, None]).round().clamp(-8, 7) + 8
    sevens = torch.full(scales.shape, 7, dtype=torch.uint8)
    return {
        "qweight": pack_stream(codes.to(torch.uint8).flatten(0, 1), bits=4),
        "qzeros": pack_stream(sevens.t().contiguous(), bits=4).t().contiguous(),
        "scales": scales,
    }


def _each_layer(folder: Path, change: Callable[[Tensors, str], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(".qweight")]:
        change(tensors, name.removesuffix(".qweight"))
    save_file(tensors, folder / "model.safetensors")
