"""The Marlin kernel that TGI's image holds, used only where it agrees with the reference on this very device.

It never ran where this package was developed. So the first layer of every width, group size, shape and type is
multiplied by both, while the model loads, and a difference stops the server with a sentence.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.checkpoint.sharding import in_column_parts
from tgi_autoround.errors import UnsupportedError

SWITCH = "TGI_AUTOROUND_MARLIN"
"""Set to 0 to pass Marlin over."""

BITS = (4, 8)
GROUP_SIZES = (-1, 32, 64, 128)
OLDEST_CAPABILITY = (8, 0)
FEATURES_ARE_MULTIPLES_OF = ((128, 64), (64, 128))
"""in_features and out_features, by one pair or the other: layers/marlin/gptq.py:474, 3.3.7."""

ROWS_CHECKED = (1, 17, 128)
BOUND = 0.01
"""Relative error: bfloat16 arithmetic stays below 0.004, and weights out of their place are above 1."""

_checked: set[tuple[object, ...]] = set()


class MarlinKernel:
    """`gptq_marlin_gemm` on symmetric layers; tensors are laid out by TGI's own functions."""

    name = "tgi-marlin"
    exact = True

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes 4 and 8 bits, symmetric, in groups of 32, 64, 128 or one, on GPUs of compute capability 8.0 on."""
        if device.type != "cuda":
            return f"it runs on NVIDIA GPUs, not on {device.type}"
        if os.environ.get(SWITCH) == "0":
            return f"{SWITCH}=0 turns it off"
        return _reason_against_layer(spec, dtype) or _reason_against_device(device)

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Codes, scales and the workspace."""
        codes = spec.in_features * spec.out_features * spec.scheme.bits // 8
        return codes + spec.num_groups * spec.out_features * dtype.itemsize + 4 * _workspace_size(spec)

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """qweight, scales and workspace as TGI's GPTQMarlinLinear holds them; bias [out_features] in `dtype`.

        Raises UnsupportedError where a product of theirs differs from the reference's.
        """
        spec = weight.spec
        none = torch.empty(0, dtype=torch.int32, device=device)
        words = _gptq_words(weight.codes.to(device), spec.scheme.bits)
        buffers = {
            "qweight": _kernels().gptq_marlin_repack(
                words, none, spec.in_features, spec.out_features, spec.scheme.bits
            ),
            "scales": _permute_scales(weight.scales.to(device, dtype)),
            "workspace": torch.zeros(_workspace_size(spec), dtype=torch.int32, device=device),
            "none": none,
        }
        if weight.bias is not None:
            buffers["bias"] = weight.bias.to(device, dtype)
        self._check_once(weight, buffers, device, dtype)
        return buffers

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply as TGI's GPTQMarlinLinear does (layers/marlin/gptq.py:422, 3.3.7)."""
        rows = x.reshape(-1, spec.in_features).contiguous()
        if rows.shape[0] == 0:  # an expert that no token chose; the kernel refuses it
            return x.new_empty(*x.shape[:-1], spec.out_features)
        types = _kernels().scalar_types
        y: torch.Tensor = _kernels().gptq_marlin_gemm(
            rows,
            buffers["qweight"],
            buffers["scales"],
            buffers["none"],  # zero points, group indices and their order: symmetric layers have none
            buffers["none"],
            buffers["none"],
            buffers["workspace"],
            types.uint4b8 if spec.scheme.bits == 4 else types.uint8b128,
            rows.shape[0],
            spec.out_features,
            spec.in_features,
            True,  # all input features of the layer are here
            False,  # no zero points
            True,  # sums over blocks are in float32
        )
        if "bias" in buffers:
            y += buffers["bias"]
        return y.view(*x.shape[:-1], spec.out_features)

    def _check_once(
        self, weight: NormalForm, buffers: Mapping[str, torch.Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        spec = weight.spec
        kind = (spec.scheme.bits, spec.group_size, spec.in_features, spec.out_features, dtype, device)
        if kind in _checked:
            return
        for rows in ROWS_CHECKED:
            x = torch.randn(rows, spec.in_features, device=device, dtype=dtype)
            try:
                error = _relative_error(self.forward(x, buffers, spec), x, weight)
            except (RuntimeError, TypeError) as refusal:
                raise UnsupportedError(_advice(spec, f"failed on {rows} rows: {refusal}")) from refusal
            if not error <= BOUND:
                raise UnsupportedError(_advice(spec, f"is off by {error:.2g} on {rows} rows of {dtype}"))
        _checked.add(kind)


def _advice(spec: LayerSpec, what: str) -> str:
    return (
        f"layer {spec.name}: {spec}: TGI's Marlin kernel {what}, against the reference on this device; set {SWITCH}=0 "
        "in the server's environment to serve with this package's own kernel, and please report it"
    )


def _reason_against_layer(spec: LayerSpec, dtype: torch.dtype) -> str | None:
    if dtype not in (torch.float16, torch.bfloat16):
        return f"it multiplies float16 and bfloat16, not {str(dtype).removeprefix('torch.')}"
    if not spec.scheme.sym or spec.scheme.bits not in BITS:
        return "it takes 4 and 8 bits, symmetric"
    if spec.scheme.group_size not in GROUP_SIZES or spec.in_features % spec.group_size:
        return "it takes whole groups of 32, 64 or 128 input features, or of all"
    features = spec.in_features, spec.out_features
    if not any(
        features[0] % inputs == 0 and features[1] % outputs == 0 for inputs, outputs in FEATURES_ARE_MULTIPLES_OF
    ):
        return "in_features and out_features are no multiples of 128 and 64, nor of 64 and 128"
    return None


def _reason_against_device(device: torch.device) -> str | None:
    if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return "it needs a GPU of compute capability 8.0 or later"
    try:
        _kernels()
        _permute_scales_function()
    except (ImportError, FileNotFoundError) as missing:
        return f"this TGI does not hold it ({missing})"
    return None


@functools.cache
def _kernels() -> Any:
    from text_generation_server.utils.kernels import load_kernel

    return load_kernel(module="quantization", repo_id="kernels-community/quantization")


@functools.cache
def _permute_scales_function() -> Any:
    from text_generation_server.layers.marlin.util import permute_scales

    return permute_scales


def _permute_scales(scales: torch.Tensor) -> torch.Tensor:
    permuted: torch.Tensor = _permute_scales_function()(scales)
    return permuted


def _workspace_size(spec: LayerSpec) -> int:
    """Locks, as TGI counts them: layers/marlin/gptq.py:418, 3.3.7."""
    return spec.out_features // 64 * 16


def _gptq_words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return GPTQ's qweight: uint8 [in_features, out_features] -> int32 [in_features * bits / 32, out_features]."""
    codes_of_byte = codes.view(-1, 8 // bits, codes.shape[1])
    in_bytes = codes_of_byte[:, 0].clone()
    for index in range(1, 8 // bits):
        in_bytes |= codes_of_byte[:, index] << (index * bits)
    return in_bytes.view(-1, 4, codes.shape[1]).transpose(1, 2).contiguous().view(torch.int32).squeeze(-1)


def _relative_error(y: torch.Tensor, x: torch.Tensor, weight: NormalForm) -> float:
    """Return the error against float32 over the dequantized weights."""
    error, norm = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
    for part, columns in in_column_parts(weight):
        bias = columns.bias.to(x.device).float() if columns.bias is not None else None
        expected = torch.nn.functional.linear(x.float(), columns.dequantize().to(x.device), bias)
        error += (y[:, part].float() - expected).square().sum()
        norm += expected.square().sum()
    return 0.0 if error == 0 else float((error / norm).sqrt())
