"""auto-round's packed layers + everything else of the source, as it was -> the model directory that users get.

auto-round writes what it does not quantize in the dtype that it computed in (float32 on a CPU without bfloat16), one
file a block when it can be resumed, readable by its owner only, and re-saves the tokenizer in transformers 5's terms.
After a resume it also writes the float weights of the blocks that it skipped (0.16.1: shard_writer.write in
compressors/orchestrator.py takes them for unsaved). None of that is wanted: only the packed tensors are taken from it.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from tgi_autoround.checkpoint import Checkpoint
from tgi_autoround.checkpoint.files import INDEX_FILE, SINGLE_FILE
from tgi_autoround.checkpoint.layers import QUANTIZED_TENSORS
from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.jsonfile import read_json, write_json
from tgi_autoround.quantize.repair import repair_directory
from tgi_autoround.quantize.source import SourceModel

if TYPE_CHECKING:
    import torch

COPIED_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*", "NOTICE*")
LEFT_FILES = ("config.json", "quantization_config.json", INDEX_FILE)


def assemble(source: SourceModel, tuned: Path, result: Path, *, max_shard_bytes: int) -> None:
    """Write the model directory `result` from auto-round's directory `tuned`.

    Raises QuantizeError where auto-round wrote a tensor that has no place in the result.
    """
    places = _places(tuned)
    packed = {layer: [f"{layer}.{part}" for part in QUANTIZED_TENSORS] for layer in _packed_layers(places)}
    surplus = sorted(
        set(places) - set(source.checkpoint.file_of) - {name for names in packed.values() for name in names}
    )
    if surplus:
        raise QuantizeError(f"auto-round wrote {surplus[0]} ({len(surplus)} tensors), which the source does not have")
    _write_shards(_tensors(source.checkpoint, packed, places), result, max_shard_bytes)
    _copy_other_files(source.path, result)
    quantization_config = read_json(tuned / "config.json")["quantization_config"]
    write_json(result / "config.json", {**source.checkpoint.config, "quantization_config": quantization_config})
    write_json(result / "quantization_config.json", quantization_config)
    repair_directory(result)


def _places(tuned: Path) -> dict[str, Path]:
    """Return the file of every tensor that auto-round wrote."""
    index = tuned / INDEX_FILE
    if index.is_file():
        return {name: tuned / file for name, file in read_json(index)["weight_map"].items()}
    with safe_open(tuned / SINGLE_FILE, "pt") as file:
        return dict.fromkeys(file.keys(), tuned / SINGLE_FILE)


def _packed_layers(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(".qweight") for name in names if name.endswith(".qweight")]


def _tensors(
    source: Checkpoint, packed: Mapping[str, list[str]], places: Mapping[str, Path]
) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield the source's tensors in its order, the packed parts in place of each quantized weight."""
    for name in source.file_of:
        parts = packed.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        if parts is None:
            yield name, source.read_tensor(name)
        else:
            for part in parts:
                with safe_open(places[part], "pt") as file:
                    yield part, file.get_tensor(part)


def _write_shards(tensors: "Iterable[tuple[str, torch.Tensor]]", directory: Path, max_shard_bytes: int) -> None:
    """Write tensors into files of at most `max_shard_bytes` (or one tensor), holding one file's worth in memory."""
    from safetensors.torch import save_file

    shards: list[list[str]] = []
    total_bytes = 0
    for shard in _by_size(tensors, max_shard_bytes):
        # Loaders of several projects refuse a file whose metadata does not name the framework.
        save_file(shard, _unnumbered(directory, len(shards)), metadata={"format": "pt"})
        shards.append(list(shard))
        total_bytes += sum(tensor.nbytes for tensor in shard.values())
    if len(shards) == 1:
        _unnumbered(directory, 0).rename(directory / SINGLE_FILE)
        return
    weight_map = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        _unnumbered(directory, number).rename(directory / file)
        weight_map.update(dict.fromkeys(names, file))
    write_json(directory / INDEX_FILE, {"metadata": {"total_size": total_bytes}, "weight_map": weight_map})


def _by_size(tensors: "Iterable[tuple[str, torch.Tensor]]", max_bytes: int) -> "Iterator[dict[str, torch.Tensor]]":
    shard: dict[str, torch.Tensor] = {}
    size_bytes = 0
    for name, tensor in tensors:
        if shard and size_bytes + tensor.nbytes > max_bytes:
            yield shard
            shard, size_bytes = {}, 0
        shard[name] = tensor.contiguous()
        size_bytes += tensor.nbytes
    yield shard


def _unnumbered(directory: Path, number: int) -> Path:
    return directory / f"shard-{number}.safetensors"


def _copy_other_files(source: Path, result: Path) -> None:
    for pattern in COPIED_FILES:
        for file in source.glob(pattern):
            if file.is_file() and file.name not in LEFT_FILES:
                shutil.copyfile(file, result / file.name)
