"""A checkpoint directory -> its config, the specs of its quantized layers, and tensors read lazily one at a time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tgi_autoround.checkpoint.config import parse_quant_config
from tgi_autoround.checkpoint.files import read_config, stored_tensors
from tgi_autoround.checkpoint.header import StoredTensor
from tgi_autoround.checkpoint.layers import OPTIONAL_TENSORS, QUANTIZED_TENSORS, layer_parts, layer_spec
from tgi_autoround.checkpoint.normal_form import NormalForm, unpack
from tgi_autoround.checkpoint.schemes import QuantConfig
from tgi_autoround.checkpoint.spec import LayerSpec
from tgi_autoround.errors import CheckpointError

LM_HEAD = "lm_head"
_BLOCK_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Checkpoint:
    """A model directory whose config and headers have been read and agree; the tensors are still on disk."""

    model_dir: Path
    config: Mapping[str, Any]
    quant_config: QuantConfig | None
    tensors: Mapping[str, StoredTensor]
    _open_files: dict[Path, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def file_of(self) -> Mapping[str, Path]:
        """Tensor name -> the file that holds it."""
        return {name: tensor.file for name, tensor in self.tensors.items()}

    @cached_property
    def quantized_layers(self) -> Mapping[str, LayerSpec]:
        """Module name -> spec of every layer that has a `qweight`, checked against the config and its other tensors."""
        return {name: self._layer_spec(name, parts) for name, parts in layer_parts(self.tensors).items()}

    @cached_property
    def plain_tensors(self) -> tuple[str, ...]:
        """Names of all tensors that belong to no quantized layer."""
        known = (*QUANTIZED_TENSORS, *OPTIONAL_TENSORS)
        parts = {f"{layer}.{part}" for layer in self.quantized_layers for part in known}
        return tuple(name for name in self.tensors if name not in parts)

    def read_tensor(self, name: str) -> torch.Tensor:
        """Return a tensor as it lies in the file. Raises CheckpointError where no file has one of that name."""
        stored = self.tensors.get(name)
        if stored is None:
            raise CheckpointError(f"{self.model_dir}: no tensor {name!r}; the checkpoint is incomplete")
        try:
            if stored.file not in self._open_files:
                self._open_files[stored.file] = safe_open(stored.file, framework="pt")
            tensor: torch.Tensor = self._open_files[stored.file].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{stored.file}: tensor {name!r} cannot be read: {error}") from error
        return tensor

    def load_layer(self, name: str, device: torch.device | None = None) -> NormalForm:
        """Return a quantized layer in normal form, read now and unpacked on `device`, the CPU by default.

        On a Gaudi it is unpacked by the CPU too: whether lazy mode takes the views that unpacking needs is not known.
        """
        if device is not None and device.type == "hpu":
            device = None
        spec = self.quantized_layers[name]
        qweight, qzeros, scales = (self.read_tensor(f"{name}.{part}").to(device) for part in QUANTIZED_TENSORS)
        bias, g_idx = (self._read_if_there(f"{name}.{part}", device) for part in OPTIONAL_TENSORS)
        return unpack(spec, qweight, qzeros, scales, bias=bias, g_idx=g_idx)

    def check_unquantized(self, layer: str) -> None:
        """Raise CheckpointError where the config quantizes a linear whose weight the files hold in floating point.

        lm_head is let off: auto-round 0.16.1 claims a quantized one in `extra_config` and writes a floating-point one
        after plain RTN with quant_lm_head; the tensors are right, the claim is not.
        """
        config = self.quant_config
        if config is None or layer == LM_HEAD or not config.covers(layer):
            return
        if not config.blocks and _tower(layer) not in self._quantized_towers:
            return
        scheme = config.scheme_of(layer)
        if scheme is not None:
            raise CheckpointError(
                f"layer {layer}: the config says {scheme.bits} bits, but the file holds no packed weight; "
                "config.json and the safetensors files are not from the same job"
            )

    @cached_property
    def _quantized_towers(self) -> frozenset[str]:
        return frozenset(map(_tower, self.quantized_layers))

    def _read_if_there(self, name: str, device: torch.device | None) -> torch.Tensor | None:
        return self.read_tensor(name).to(device) if name in self.tensors else None

    def _layer_spec(self, name: str, parts: Mapping[str, StoredTensor]) -> LayerSpec:
        scheme = self.quant_config.scheme_of(name) if self.quant_config else None
        if scheme is None:
            raise CheckpointError(
                f"layer {name}: the file holds packed integers, but the config says floating point; "
                "config.json and the safetensors files are not from the same job"
            )
        return layer_spec(name, scheme, parts)


def _tower(layer: str) -> str:
    """Return what a layer's numbered blocks are part of: auto-round leaves vision towers out without saying so."""
    return _BLOCK_NUMBER.split(layer, maxsplit=1)[0]


def open_checkpoint(model_dir: Path) -> Checkpoint:
    """Read a model directory's config and the headers of its files; no tensor is read.

    Raises CheckpointError where files are missing or contradict each other, UnsupportedError where the
    quantization is of a kind this release does not serve.
    """
    config = read_config(model_dir)
    raw = config.get("quantization_config")
    quant_config = parse_quant_config(raw) if raw is not None else None
    checkpoint = Checkpoint(model_dir, config, quant_config, stored_tensors(model_dir))
    if not checkpoint.quantized_layers and quant_config:
        raise CheckpointError(
            f"{model_dir}: the config names a quantization, but no tensor is packed; "
            "config.json and the safetensors files are not from the same job"
        )
    return checkpoint
