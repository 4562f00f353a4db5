"""A model directory -> the report of an inspection. Headers and config are read, no tensor unless asked for."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from tgi_autoround.checkpoint import Checkpoint, LayerSpec
from tgi_autoround.checkpoint.header import BYTES_OF_DTYPE, StoredTensor
from tgi_autoround.errors import CheckpointError, UnsupportedError
from tgi_autoround.inspection.report import LayerGroup, Report
from tgi_autoround.inspection.shards import describe, shard_specs
from tgi_autoround.inspection.soundness import pattern_of, sound_part, undecodable_layers
from tgi_autoround.kernels import KERNELS, Kernel

DTYPE_ON = {"cpu": torch.float32, "cuda": torch.bfloat16, "hpu": torch.bfloat16}
"""The compute types that `serve` takes by default."""
PACKED_PARTS = ("qweight", "qzeros", "scales", "g_idx")
LM_HEAD = "lm_head.weight"


def survey(model_dir: Path, *, device: str = "cpu", tp: int = 1, deep: bool = False) -> Report:
    """Return the report on a model for `tp` devices of a kind; `deep` decodes every layer too.

    Raises ConfigError where the model is not quantized.
    """
    try:
        checkpoint, problems = sound_part(model_dir)
    except (CheckpointError, UnsupportedError) as error:
        return _report(model_dir, device, tp, layers=(), problems=[str(error)])
    if deep:
        problems += undecodable_layers(checkpoint)
    groups = []
    for specs in _alike(checkpoint.quantized_layers.values()):
        try:
            groups.append(_layer_group(checkpoint, specs, torch.device(device), tp))
        except UnsupportedError as error:
            problems.append(str(error))
    return _report(model_dir, device, tp, layers=tuple(groups), problems=problems, checkpoint=checkpoint)


def _alike(specs: Iterable[LayerSpec]) -> Iterable[list[LayerSpec]]:
    """Group specs that differ in nothing but the numbers in their names."""
    groups: dict[LayerSpec, list[LayerSpec]] = {}
    for spec in specs:
        groups.setdefault(replace(spec, name=pattern_of(spec.name)), []).append(spec)
    return groups.values()


def _layer_group(checkpoint: Checkpoint, specs: list[LayerSpec], device: torch.device, tp: int) -> LayerGroup:
    spec = specs[0]
    shards = shard_specs(spec, tp) if tp > 1 else [spec]
    largest = max(shards, key=lambda shard: shard.num_groups)
    kernel, passed_over = _kernel_for(largest, device)
    bias_bytes = largest.out_features * DTYPE_ON[device.type].itemsize if spec.has_bias else 0
    layer_bytes = kernel.weight_bytes(largest, DTYPE_ON[device.type]) + bias_bytes
    stored = [tensor for layer in specs for tensor in _packed_tensors(checkpoint, layer.name)]
    return LayerGroup(
        pattern=pattern_of(spec.name),
        layers=len(specs),
        bits=spec.scheme.bits,
        group_size=spec.scheme.group_size,
        sym=spec.scheme.sym,
        packing=spec.scheme.packing.value,
        in_features=spec.in_features,
        out_features=spec.out_features,
        bias=spec.has_bias,
        files=tuple(sorted({tensor.file.name for tensor in stored})),
        packed_bytes=sum(map(_bytes, stored)),
        kernel=kernel.name,
        passed_over=passed_over,
        memory_bytes=len(specs) * layer_bytes,
        shard=describe(spec, largest) if tp > 1 else None,
    )


def _kernel_for(spec: LayerSpec, device: torch.device) -> tuple[Kernel, dict[str, str]]:
    passed_over: dict[str, str] = {}
    for kernel in KERNELS:
        reason = kernel.supports(spec, device, DTYPE_ON[device.type])
        if reason is None:
            return kernel, passed_over
        passed_over[kernel.name] = reason
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
    raise UnsupportedError(f"layer {spec.name}: {spec}: no kernel on {device.type} takes it; {reasons}")


def _report(
    model_dir: Path,
    device: str,
    tp: int,
    *,
    layers: tuple[LayerGroup, ...],
    problems: list[str],
    checkpoint: Checkpoint | None = None,
) -> Report:
    plain = list(_plain_tensors_held(checkpoint)) if checkpoint else []
    plain_bytes = sum(_bytes_in(tensor, DTYPE_ON[device]) for tensor in plain)
    weights = sum(group.layers * group.in_features * group.out_features for group in layers)
    packed_bytes = sum(group.packed_bytes for group in layers)
    files = {tensor.file for tensor in checkpoint.tensors.values()} if checkpoint else set()
    return Report(
        model=str(model_dir),
        device=device,
        dtype=str(DTYPE_ON[device]).removeprefix("torch."),
        tp=tp,
        layers=layers,
        plain_tensors=len(plain),
        plain_memory_bytes=plain_bytes,
        disk_bytes=sum(file.stat().st_size for file in files),
        memory_bytes=plain_bytes + sum(group.memory_bytes for group in layers),
        bits_per_weight=round(8 * packed_bytes / weights, 3) if weights else None,
        problems=tuple(problems),
    )


def _plain_tensors_held(checkpoint: Checkpoint) -> Iterator[StoredTensor]:
    """A head that is tied to the embedding is held once, also where the file has both."""
    tied = checkpoint.config.get("tie_word_embeddings") is True
    for name in checkpoint.plain_tensors:
        if not (tied and name == LM_HEAD):
            yield checkpoint.tensors[name]


def _packed_tensors(checkpoint: Checkpoint, layer: str) -> Iterable[StoredTensor]:
    names = (f"{layer}.{part}" for part in PACKED_PARTS)
    return [checkpoint.tensors[name] for name in names if name in checkpoint.tensors]


def _bytes(tensor: StoredTensor) -> int:
    return math.prod(tensor.shape) * BYTES_OF_DTYPE[tensor.dtype]


def _bytes_in(tensor: StoredTensor, dtype: torch.dtype) -> int:
    is_float = tensor.dtype.startswith(("F", "BF"))
    return math.prod(tensor.shape) * dtype.itemsize if is_float else _bytes(tensor)
