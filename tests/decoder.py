"""An independent decoder: numpy on the bits themselves, no code shared with the package. The tests' oracle."""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open

AWQ_POSITION_OF_COLUMN = (0, 4, 1, 5, 2, 6, 3, 7)


def bit_stream(words: np.ndarray, bits: int) -> np.ndarray:
    """int32 [rows, words], each row one little-endian bit stream -> codes [rows, words * 32 // bits]."""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    return stream.reshape(words.shape[0], -1, bits) @ (1 << np.arange(bits))


def decode_layer(tensors: dict[str, np.ndarray], *, bits: int, group_size: int, packing: str) -> dict[str, np.ndarray]:
    """Return codes [K, N], zero_points [G, N] and the float32 weight [N, K] of one layer's file tensors."""
    if packing.endswith("awq"):
        codes, zeros = (_awq(tensors[name]) for name in ("qweight", "qzeros"))
    else:
        codes = bit_stream(tensors["qweight"].T, bits).T
        zeros = bit_stream(tensors["qzeros"], bits) + 1
    rows = codes.shape[0]
    group = np.arange(rows) // (group_size if group_size > 0 else rows)
    steps = (codes - zeros[group]).astype(np.float32)
    weight = steps * tensors["scales"].astype(np.float32)[group]
    return {"codes": codes, "zero_points": zeros, "weight": weight.T}


def decode_checkpoint(model_dir: Path) -> dict[str, dict[str, np.ndarray]]:
    """Decode every quantized layer of a single-file checkpoint with one scheme for all layers."""
    config = json.loads((model_dir / "config.json").read_text())["quantization_config"]
    file = safe_open(model_dir / "model.safetensors", framework="numpy")
    layers = [name.removesuffix(".qweight") for name in file.keys() if name.endswith(".qweight")]  # noqa: SIM118
    return {
        layer: decode_layer(
            {part: file.get_tensor(f"{layer}.{part}") for part in ("qweight", "qzeros", "scales")},
            bits=config["bits"],
            group_size=config["group_size"],
            packing=config["packing_format"],
        )
        for layer in layers
    }


def _awq(words: np.ndarray) -> np.ndarray:
    nibbles = bit_stream(words, 4).reshape(words.shape[0], -1, 8)
    return nibbles[:, :, AWQ_POSITION_OF_COLUMN].reshape(words.shape[0], -1)
