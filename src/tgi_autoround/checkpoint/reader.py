"""A checkpoint directory -> its config, the specs of its quantized layers, and tensors read lazily one at a time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tgi_autoround.checkpoint.config import parse_quant_config
from tgi_autoround.checkpoint.normal_form import NormalForm, unpack
from tgi_autoround.checkpoint.schemes import QuantConfig
from tgi_autoround.checkpoint.spec import LayerSpec, Packing, QuantScheme
from tgi_autoround.errors import CheckpointError

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
QUANTIZED_TENSORS = ("qweight", "qzeros", "scales")


@dataclass(frozen=True)
class Checkpoint:
    """A model directory whose config and tensor names have been read and agree; the tensors are still on disk."""

    model_dir: Path
    config: Mapping[str, Any]
    quant_config: QuantConfig | None
    file_of: Mapping[str, Path]
    _open_files: dict[Path, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def quantized_layers(self) -> Mapping[str, LayerSpec]:
        """Module name -> spec of every layer that has a `qweight`, checked against the config and its other tensors."""
        names = [name.removesuffix(".qweight") for name in self.file_of if name.endswith(".qweight")]
        return {name: self._layer_spec(name) for name in names}

    @cached_property
    def plain_tensors(self) -> tuple[str, ...]:
        """Names of all tensors that belong to no quantized layer."""
        parts = {f"{layer}.{part}" for layer in self.quantized_layers for part in (*QUANTIZED_TENSORS, "g_idx", "bias")}
        return tuple(name for name in self.file_of if name not in parts)

    def read_tensor(self, name: str) -> torch.Tensor:
        """Return a tensor as it lies in the file. Raises CheckpointError where the file has none of that name."""
        path = self.file_of.get(name)
        if path is None:
            raise CheckpointError(f"{self.model_dir}: no tensor {name!r}; the checkpoint is incomplete")
        tensor: torch.Tensor = self._open(path).get_tensor(name)
        return tensor

    def load_layer(self, name: str) -> NormalForm:
        """Return a quantized layer in normal form, read and unpacked now, on the CPU."""
        spec = self.quantized_layers[name]
        qweight, qzeros, scales = (self.read_tensor(f"{name}.{part}") for part in QUANTIZED_TENSORS)
        bias, g_idx = (self._read_if_there(f"{name}.{part}") for part in ("bias", "g_idx"))
        return unpack(spec, qweight, qzeros, scales, bias=bias, g_idx=g_idx)

    def _read_if_there(self, name: str) -> torch.Tensor | None:
        return self.read_tensor(name) if name in self.file_of else None

    def _layer_spec(self, name: str) -> LayerSpec:
        scheme = self.quant_config.scheme_of(name) if self.quant_config else None
        if scheme is None:
            raise CheckpointError(
                f"layer {name}: the file holds packed integers, but the config says floating point; "
                "config.json and the safetensors files are not from the same job"
            )
        shapes, dtypes = self._headers(name)
        spec = _spec_of_shapes(name, scheme, shapes, has_bias=f"{name}.bias" in self.file_of)
        if (dtypes["qweight"], dtypes["qzeros"], dtypes["scales"]) != ("I32", "I32", "F16"):
            raise CheckpointError(f"layer {name}: tensors of types {dtypes}; expected I32, I32 and F16")
        return spec

    def _open(self, path: Path) -> Any:
        if path not in self._open_files:
            self._open_files[path] = _open(path)
        return self._open_files[path]

    def _headers(self, layer: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        shapes, dtypes = {}, {}
        for part in QUANTIZED_TENSORS:
            name = f"{layer}.{part}"
            if name not in self.file_of:
                raise CheckpointError(f"layer {layer}: tensor {name!r} is missing; the checkpoint is incomplete")
            header = self._open(self.file_of[name]).get_slice(name)
            shapes[part], dtypes[part] = tuple(header.get_shape()), header.get_dtype()
            if len(shapes[part]) != 2:
                raise CheckpointError(f"tensor {name!r} has shape {shapes[part]}; expected two dimensions")
        return shapes, dtypes


def open_checkpoint(model_dir: Path) -> Checkpoint:
    """Read a model directory's config and tensor names.

    Raises CheckpointError where files are missing or contradict each other, UnsupportedError where the
    quantization is of a kind this release does not serve.
    """
    config = _read_json(model_dir / "config.json")
    raw = config.get("quantization_config")
    checkpoint = Checkpoint(
        model_dir, config, parse_quant_config(raw) if raw is not None else None, _tensor_files(model_dir)
    )
    if checkpoint.quant_config and not checkpoint.quantized_layers:
        raise CheckpointError(
            f"{model_dir}: the config names a quantization, but no tensor is packed; "
            "config.json and the safetensors files are not from the same job"
        )
    return checkpoint


def _spec_of_shapes(
    name: str, scheme: QuantScheme, shapes: Mapping[str, tuple[int, ...]], *, has_bias: bool
) -> LayerSpec:
    """Derive in_features and out_features from qweight, and demand of qzeros and scales the shapes that follow."""
    rows, columns = shapes["qweight"]
    if scheme.packing is Packing.AWQ:
        in_features, out_features = rows, columns * 8
    else:
        in_features, out_features = rows * 32 // scheme.bits, columns
    spec = LayerSpec(name, scheme, in_features, out_features, has_bias)
    expected = {
        "qweight": (in_features, out_features // 8)
        if scheme.packing is Packing.AWQ
        else (in_features * scheme.bits // 32, out_features),
        "qzeros": (spec.num_groups, out_features * scheme.bits // 32),
        "scales": (spec.num_groups, out_features),
    }
    if dict(shapes) != expected:
        raise CheckpointError(
            f"layer {name}: {spec}: tensors have shapes {dict(shapes)}, but the config asks for {expected}; "
            "bits, group_size or packing in config.json do not fit the file"
        )
    return spec


def _tensor_files(model_dir: Path) -> dict[str, Path]:
    index = model_dir / INDEX_FILE
    if index.exists():
        weight_map = _read_json(index).get("weight_map", {})
        return {name: _shard(model_dir, file) for name, file in weight_map.items()}
    single = model_dir / SINGLE_FILE
    if not single.exists():
        raise CheckpointError(
            f"{model_dir}: neither {SINGLE_FILE} nor {INDEX_FILE} is there; only safetensors are read"
        )
    return dict.fromkeys(_open(single).keys(), single)


def _shard(model_dir: Path, file: str) -> Path:
    if Path(file).name != file:
        raise CheckpointError(
            f"{model_dir / INDEX_FILE} names the shard {file!r}; shards must lie in the model's directory"
        )
    return model_dir / file


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; is this a model directory?") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return content
