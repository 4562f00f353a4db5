"""auto-round's packed layers + everything else of the source, as it was -> the model directory that users get.

auto-round writes what it does not quantize in the dtype that it computed in (float32 on a CPU without bfloat16), one
file a block when it can be resumed, readable by its owner only, and re-saves the tokenizer in transformers 5's terms.
None of that is wanted: only the packed tensors are taken from it.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tgi_autoround.checkpoint import Checkpoint
from tgi_autoround.checkpoint.reader import INDEX_FILE, QUANTIZED_TENSORS, SINGLE_FILE
from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.repair import repair_directory, write_json
from tgi_autoround.quantize.source import SourceModel

if TYPE_CHECKING:
    import torch

COPIED_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*", "NOTICE*")
LEFT_FILES = ("config.json", "quantization_config.json", INDEX_FILE)


def assemble(source: SourceModel, tuned: Checkpoint, result: Path, *, max_shard_bytes: int) -> None:
    """Write the model directory `result`. Raises QuantizeError for a tensor that has no place in it."""
    known = {*source.checkpoint.file_of, *_packed_names(tuned.quantized_layers)}
    surplus = sorted(set(tuned.file_of) - known)
    if surplus:
        raise QuantizeError(
            f"auto-round wrote {surplus[0]} ({len(surplus)} tensors in all), which the source does not have"
        )
    _write_shards(_tensors(source.checkpoint, tuned), result, max_shard_bytes)
    _copy_other_files(source.path, result)
    quantization_config = tuned.config["quantization_config"]
    write_json(result / "config.json", {**source.checkpoint.config, "quantization_config": quantization_config})
    write_json(result / "quantization_config.json", quantization_config)
    repair_directory(result)


def _packed_names(layers: Iterable[str]) -> Iterator[str]:
    return (f"{layer}.{part}" for layer in layers for part in QUANTIZED_TENSORS)


def _tensors(source: Checkpoint, tuned: Checkpoint) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield the source's tensors in its order, the packed parts in place of each quantized weight."""
    for name in source.file_of:
        layer = name.removesuffix(".weight")
        if name.endswith(".weight") and layer in tuned.quantized_layers:
            for packed in _packed_names([layer]):
                yield packed, tuned.read_tensor(packed)
        else:
            yield name, source.read_tensor(name)


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
