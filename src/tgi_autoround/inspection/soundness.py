"""A model directory -> its sound layers, and every problem that its headers show."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tgi_autoround.checkpoint import Checkpoint
from tgi_autoround.checkpoint.config import parse_quant_config
from tgi_autoround.checkpoint.files import read_config, stored_tensors
from tgi_autoround.checkpoint.layers import layer_parts
from tgi_autoround.errors import CheckpointError, ConfigError

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def pattern_of(name: str) -> str:
    """Return a module's name with `*` for the numbers of blocks and experts."""
    return _NUMBER.sub("*", name)


def sound_part(model_dir: Path) -> tuple[Checkpoint, list[str]]:
    """Return a checkpoint of all layers whose tensors agree with the config, and what is wrong with the others.

    Raises CheckpointError or UnsupportedError where config or files cannot be read at all, ConfigError where the model
    is not quantized.
    """
    config = read_config(model_dir)
    raw = config.get("quantization_config")
    if raw is None:
        raise ConfigError(
            f"{model_dir} is not quantized; make it so with `tgi-autoround quantize {model_dir} OUT` and inspect OUT"
        )
    checkpoint = Checkpoint(model_dir, config, parse_quant_config(raw), stored_tensors(model_dir))
    broken = dict(_broken_layers(checkpoint))
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name.rpartition(".")[0] not in broken}
    sound = replace(checkpoint, tensors=tensors)
    problems = [*broken.values(), *_unpacked_layers(sound)]
    if not sound.quantized_layers and not broken:
        problems.append(
            f"{model_dir}: the config names a quantization, but no tensor is packed; "
            "config.json and the safetensors files are not from the same job"
        )
    return sound, problems


def undecodable_layers(checkpoint: Checkpoint) -> Iterator[str]:
    """Decode every layer and yield what is wrong: NaN scales, zero points that are not symmetric, broken groups."""
    for name in checkpoint.quantized_layers:
        try:
            checkpoint.load_layer(name)
        except CheckpointError as error:
            yield str(error)


def _broken_layers(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Names and problems of layers, found by reading each layer as a checkpoint of its own."""
    for name, parts in layer_parts(checkpoint.tensors).items():
        alone = replace(checkpoint, tensors={f"{name}.{part}": tensor for part, tensor in parts.items()})
        try:
            alone.quantized_layers  # noqa: B018
        except CheckpointError as error:
            yield name, str(error)


def _unpacked_layers(checkpoint: Checkpoint) -> Iterator[str]:
    """Layers in floating point whose like in other blocks is packed, though the config exempts them from nothing."""
    packed = {pattern_of(name) for name in checkpoint.quantized_layers}
    for tensor in checkpoint.plain_tensors:
        name = tensor.removesuffix(".weight")
        if name == tensor or pattern_of(name) not in packed or checkpoint.quant_config is None:
            continue
        scheme = checkpoint.quant_config.scheme_of(name)
        if scheme is not None:
            yield (
                f"layer {name}: the config says {scheme.bits} bits, but the file holds no packed weight; "
                "config.json and the safetensors files are not from the same job"
            )
