"""Other libraries' products of 16-bit activations and 4-bit weights, as far as this machine has them.

None of their code is part of this project: gemlite is taken where it is installed, Marlin from the library that
GPTQModel builds at its first use (`--marlin ~/.cache/gptqmodel/torch_extensions/.../gptqmodel_marlin_bf16_ops.so`).
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch

from tgi_autoround.checkpoint import NormalForm

Product = Callable[[torch.Tensor], torch.Tensor]
"""[rows, in_features] -> [rows, out_features]."""


class Peer(Protocol):
    """One library's kernel."""

    name: str

    def reason_against(self, layer: NormalForm, dtype: torch.dtype) -> str | None:
        """Return None where it can multiply by the layer, else why not."""
        ...

    def prepare(self, layer: NormalForm, dtype: torch.dtype) -> Product:
        """Return the product by the layer, packed as the library wants it."""
        ...


class CuBlas:
    """The dequantized weight in 16 bits."""

    name = "cuBLAS"

    def reason_against(self, layer: NormalForm, dtype: torch.dtype) -> str | None:
        return None

    def prepare(self, layer: NormalForm, dtype: torch.dtype) -> Product:
        weight = layer.dequantize().to(dtype)
        return lambda x: torch.nn.functional.linear(x, weight)


class TorchInt4:
    """torch's own operation for 4 bits, once called tinygemm."""

    name = "torch int4"
    _INNER_K_TILES = 8

    def reason_against(self, layer: NormalForm, dtype: torch.dtype) -> str | None:
        if layer.spec.scheme.bits != 4 or dtype is not torch.bfloat16:
            return "it takes 4 bits and bfloat16"
        return None if layer.spec.group_size in (32, 64, 128, 256) else "it takes groups of 32, 64, 128 and 256"

    def prepare(self, layer: NormalForm, dtype: torch.dtype) -> Product:
        """It multiplies by (code - 8) * scale + offset."""
        codes = layer.codes.t().contiguous()
        packed = torch.ops.aten._convert_weight_to_int4pack(codes[:, ::2] << 4 | codes[:, 1::2], self._INNER_K_TILES)
        scales = layer.scales.float()
        offsets = (8 - layer.zero_points.float()) * scales
        grid = torch.stack([scales, offsets], dim=-1).to(dtype).contiguous()
        return lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, layer.spec.group_size, grid)


class GemLite:
    """gemlite's triton kernels, with the choices that it ships for this device."""

    name = "gemlite"

    def reason_against(self, layer: NormalForm, dtype: torch.dtype) -> str | None:
        if find_spec("gemlite") is None:
            return "gemlite is not installed"
        if layer.spec.scheme.bits not in (2, 4, 8) or layer.spec.group_size % 32:
            return "it takes 2, 4 and 8 bits in multiples of 32"
        return None

    def prepare(self, layer: NormalForm, dtype: torch.dtype) -> Product:
        from gemlite import DType, GemLiteLinear

        spec, kind = layer.spec, DType.BF16 if dtype is torch.bfloat16 else DType.FP16
        linear = GemLiteLinear(
            spec.scheme.bits,
            group_size=spec.group_size,
            in_features=spec.in_features,
            out_features=spec.out_features,
            input_dtype=kind,
            output_dtype=kind,
        )
        scales, zero_points = (each.t().contiguous().to(dtype) for each in (layer.scales, layer.zero_points))
        linear.pack(layer.codes.t().contiguous(), scales, zero_points, None)
        return linear


class Marlin:
    """GPTQModel's copy of vLLM's Marlin."""

    name = "Marlin"
    _UINT4, _UINT4_MINUS_8 = 0x4000000000400, 0x4000000100400
    """Its names of types: gptqmodel/utils/marlin_scalar_type.py, 7.7.0."""
    _ORDER = torch.tensor([row + 8 * column for row in range(8) for column in range(8)])
    _ORDER_IN_WORD = (0, 2, 4, 6, 1, 3, 5, 7)
    """Of scales and zero points: gptqmodel/utils/marlin.py, 7.7.0."""

    def __init__(self, library: Path | None) -> None:
        self._library = library

    def reason_against(self, layer: NormalForm, dtype: torch.dtype) -> str | None:
        if self._library is None:
            return "no library of it was given (--marlin)"
        if layer.spec.scheme.bits != 4 or layer.spec.group_size != 128 or dtype is not torch.bfloat16:
            return "it is measured with 4 bits in groups of 128 and bfloat16"
        return None

    def prepare(self, layer: NormalForm, dtype: torch.dtype) -> Product:
        torch.ops.load_library(self._library)
        operations, spec = torch.ops.gptqmodel_marlin_bf16, layer.spec
        k, n, device = spec.in_features, spec.out_features, layer.codes.device
        none = torch.empty(0, dtype=torch.int32, device=device)
        weight = operations.gptq_marlin_repack(_words(layer.codes, dim=0), none, k, n, 4)
        scales = self._permuted(layer.scales.to(dtype))
        zeros = None if spec.scheme.sym else _words(self._permuted(layer.zero_points)[:, self._interleaved(n)], dim=1)
        kind = self._UINT4_MINUS_8 if spec.scheme.sym else self._UINT4
        blocks = torch.cuda.get_device_properties(device).multi_processor_count
        locks = torch.zeros(max(blocks, 128), dtype=torch.int32, device=device)

        def multiply(x: torch.Tensor) -> torch.Tensor:
            return operations.gptq_marlin_gemm_bf16(
                x, None, weight, None, scales, None, zeros, none, none, locks, kind, x.shape[0], n, k, True, False, True
            )

        return multiply

    def _permuted(self, grid: torch.Tensor) -> torch.Tensor:
        return grid.reshape(-1, 64)[:, self._ORDER.to(grid.device)].reshape(grid.shape).contiguous()

    def _interleaved(self, columns: int) -> list[int]:
        return [word + position for word in range(0, columns, 8) for position in self._ORDER_IN_WORD]


def peers(marlin: Path | None) -> tuple[Peer, ...]:
    """Return all peers, cuBLAS first."""
    return CuBlas(), TorchInt4(), GemLite(), Marlin(marlin)


def _words(codes: torch.Tensor, dim: int) -> torch.Tensor:
    """Return 4-bit codes as int32, eight along `dim` in a word, the first in its lowest bits."""
    of_word = codes.to(torch.int64).unflatten(dim, (-1, 8))
    shifts = torch.arange(0, 32, 4, device=codes.device).view(-1, *[1] * (codes.dim() - 1 - dim))
    return (of_word << shifts).sum(dim + 1).to(torch.int32).contiguous()
