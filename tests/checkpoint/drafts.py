"""A tiny sound checkpoint as a mapping from file names to bytes, and edits that break it in one way each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.checkpoint.packing import pack_stream

Files = dict[str, bytes]
Edit = Callable[[Files], None]

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
LAYER = "model.layers.0.mlp.up_proj"
IN_FEATURES, OUT_FEATURES, GROUP_SIZE = 64, 32, 32
QUANTIZATION = {
    "quant_method": "auto-round",
    "packing_format": "auto_round:auto_gptq",
    "bits": 4,
    "group_size": GROUP_SIZE,
    "sym": True,
    "data_type": "int",
    "block_name_to_quantize": "model.layers",
}


def sound_files() -> Files:
    """One symmetric 4-bit layer with bias and g_idx, and an embedding; loads as it is."""
    groups = IN_FEATURES // GROUP_SIZE
    codes = torch.randint(16, (IN_FEATURES, OUT_FEATURES), dtype=torch.uint8)
    stored_zeros = torch.full((OUT_FEATURES, groups), 7, dtype=torch.uint8)
    tensors = {
        f"{LAYER}.qweight": pack_stream(codes, bits=4),
        f"{LAYER}.qzeros": pack_stream(stored_zeros, bits=4).t().contiguous(),
        f"{LAYER}.scales": torch.full((groups, OUT_FEATURES), 0.01, dtype=torch.float16),
        f"{LAYER}.bias": torch.zeros(OUT_FEATURES, dtype=torch.float16),
        f"{LAYER}.g_idx": torch.arange(IN_FEATURES, dtype=torch.int32) // GROUP_SIZE,
        "model.embed_tokens.weight": torch.zeros(16, 8, dtype=torch.float16),
    }
    config = {"model_type": "llama", "quantization_config": QUANTIZATION}
    return {CONFIG: json.dumps(config).encode(), WEIGHTS: save(tensors)}


def write_files(files: Files, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def read_everything(model_dir: Path) -> None:
    checkpoint = open_checkpoint(model_dir)
    for layer in checkpoint.quantized_layers:
        checkpoint.load_layer(layer)
    for tensor in checkpoint.plain_tensors:
        checkpoint.read_tensor(tensor)


def raw(file: str, content: bytes) -> Edit:
    return lambda files: files.update({file: content})


def changed(file: str, change: Callable[[bytes], bytes]) -> Edit:
    return lambda files: files.update({file: change(files[file])})


def without_file(file: str, *, beside: str | None = None) -> Edit:
    """The file is gone, or lies there under another name."""

    def edit(files: Files) -> None:
        content = files.pop(file)
        if beside:
            files[beside] = content

    return edit


def quantization(**fields: Any) -> Edit:
    def edit(files: Files) -> None:
        config = json.loads(files[CONFIG])
        config["quantization_config"].update(fields)
        files[CONFIG] = json.dumps(config).encode()

    return edit


def only_quantization(value: Any) -> Edit:
    return raw(CONFIG, json.dumps({"quantization_config": value}).encode())


def part(name: str, tensor: torch.Tensor | None) -> Edit:
    """The layer's tensor `name` is another, or none at all."""

    def edit(files: Files) -> None:
        tensors = load(files[WEIGHTS])
        tensors.pop(f"{LAYER}.{name}", None)
        files[WEIGHTS] = save(tensors if tensor is None else {**tensors, f"{LAYER}.{name}": tensor})

    return edit


def with_header(content: bytes, data: bytes = b"") -> Edit:
    return raw(WEIGHTS, len(content).to_bytes(8, "little") + content + data)


def header_of(content: bytes) -> bytes:
    """The JSON at the beginning of a safetensors file."""
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def header(change: Callable[[dict[str, Any]], Any]) -> Edit:
    """The safetensors header after `change(header)`, before the same data."""

    def edit(files: Files) -> None:
        old = header_of(files[WEIGHTS])
        content, data = json.loads(old), files[WEIGHTS][8 + len(old) :]
        change(content)
        with_header(json.dumps(content).encode(), data)(files)

    return edit


def entry(**fields: Any) -> Edit:
    """The header's entry of the layer's qweight with other fields."""
    return header(lambda content: content[f"{LAYER}.qweight"].update(fields))


def sharded(change: Callable[[dict[str, Any]], Any] = lambda _weight_map: None) -> Edit:
    """The tensors in two shards, every other one in each, and an index after `change(weight_map)`."""

    def edit(files: Files) -> None:
        tensors = load(files.pop(WEIGHTS))
        shards = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
        files.update({shard: save({name: tensors[name] for name in names}) for shard, names in shards.items()})
        weight_map = {name: shard for shard, names in shards.items() for name in names}
        change(weight_map)
        files[INDEX] = json.dumps({"weight_map": weight_map}).encode()

    return edit


def both(*edits: Edit) -> Edit:
    def edit(files: Files) -> None:
        for one in edits:
            one(files)

    return edit
