"""An independent decoder: numpy on the bits themselves, no code shared with the package. The tests' oracle.

It takes widths and groups from the shapes of the tensors; of the config it reads only whether zero points are stored
one too low.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

AWQ_POSITION_OF_COLUMN = (0, 4, 1, 5, 2, 6, 3, 7)
PARTS = ("qweight", "qzeros", "scales", "g_idx")


def bit_stream(words: np.ndarray, bits: int) -> np.ndarray:
    """int32 [rows, words], each row one little-endian bit stream -> codes [rows, words * 32 // bits]."""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    return stream.reshape(words.shape[0], -1, bits) @ (1 << np.arange(bits))


def decode_layer(
    tensors: Mapping[str, np.ndarray], *, bits: int, group_size: int, packing: str
) -> dict[str, np.ndarray]:
    """Return codes [K, N], zero_points [G, N] and the float32 weight [N, K] of one layer's file tensors."""
    if packing.endswith("awq"):
        codes, zeros = (_awq(tensors[name]) for name in ("qweight", "qzeros"))
    else:
        codes = bit_stream(tensors["qweight"].T, bits).T
        zeros = bit_stream(tensors["qzeros"], bits)
    if packing.endswith("gptq"):
        zeros = zeros + 1
    rows = codes.shape[0]
    group = tensors.get("g_idx", np.arange(rows) // (group_size if group_size > 0 else rows))
    steps = (codes - zeros[group]).astype(np.float32)
    weight = steps * tensors["scales"].astype(np.float32)[group]
    return {"codes": codes, "zero_points": zeros, "weight": weight.T}


def decode_checkpoint(model_dir: Path) -> dict[str, dict[str, np.ndarray]]:
    """Decode every quantized layer of a checkpoint."""
    packing = packing_of(json.loads((model_dir / "config.json").read_text())["quantization_config"])
    return {
        layer: decode_layer(parts, **_scheme_of_shapes(parts, packing), packing=packing)
        for layer, parts in _packed_layers(model_dir).items()
    }


def packing_of(config: Mapping[str, Any]) -> str:
    """Return a name that ends in awq, in gptq (zero points are stored one too low), or in neither (stored as is)."""
    if config["quant_method"] in ("awq", "gptq"):
        return config.get("checkpoint_format") or config["quant_method"]
    named = config.get("packing_format") or config["backend"]
    return next((part for part in named.split(":") if part.endswith(("awq", "gptq"))), "auto_round")


def _packed_layers(model_dir: Path) -> dict[str, dict[str, np.ndarray]]:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(model_dir.glob("*.safetensors")):
        file = safe_open(path, framework="numpy")
        for name in file.keys():  # noqa: SIM118
            layer, _, part = name.rpartition(".")
            if part in PARTS:
                layers.setdefault(layer, {})[part] = file.get_tensor(name)
    return layers


def _scheme_of_shapes(parts: Mapping[str, np.ndarray], packing: str) -> dict[str, int]:
    """bits and group_size, a power of two or -1: every other one has another number of groups."""
    groups, columns = parts["scales"].shape
    bits = parts["qzeros"].shape[1] * 32 // columns
    rows = parts["qweight"].shape[0]
    if not packing.endswith("awq"):
        rows = rows * 32 // bits
    powers = (1 << exponent for exponent in range(4, 31))
    group_size = -1 if groups == 1 else next(size for size in powers if -(-rows // size) == groups)
    return {"bits": bits, "group_size": group_size}


def _awq(words: np.ndarray) -> np.ndarray:
    nibbles = bit_stream(words, 4).reshape(words.shape[0], -1, 8)
    return nibbles[:, :, AWQ_POSITION_OF_COLUMN].reshape(words.shape[0], -1)
