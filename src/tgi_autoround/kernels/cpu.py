"""auto-round-lib's CPU kernels (ARK): packed weights read once a call, at the speed of memory.

`int8` rounds activations to 8 bits a row and multiplies in integers: the fastest, 0.6 % relative error on Gaussian
activations. `fp32` multiplies in float32: 1e-6 relative error, and the same bits for every batch size.
"""

import functools
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Literal

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing
from tgi_autoround.errors import UnsupportedError

_SCALE_TYPE = "fp32"
_WEIGHT_TYPE_OF_BITS = {2: "int2", 3: "int4", 4: "int4", 5: "int8", 6: "int8", 7: "int8", 8: "int8"}
"""ARK has containers of 2, 4 and 8 bits; other codes fit the next wider one unchanged."""


class ArkKernel:
    """One of ARK's two arithmetics; activations and results are float32 inside."""

    def __init__(self, compute: Literal["int8", "fp32"]) -> None:
        self.name = f"cpu-ark-{compute}"
        self.exact = compute == "fp32"
        # ARK's name for "int8 where the CPU has it" is auto: auto_round_kernel/qlinear.py:182, auto-round-lib 0.16.0.
        self._compute_type = "auto" if compute == "int8" else "fp32"

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes layers on the CPU whose groups divide in_features."""
        if device.type != "cpu":
            return f"it runs on the CPU, not on {device.type}"
        if find_spec("auto_round_kernel") is None:
            return "the package auto-round-lib is not installed (it has wheels for x86-64 Linux)"
        if spec.in_features % spec.group_size:
            return f"group size {spec.group_size} does not divide in_features {spec.in_features}"
        if spec.scheme.bits == 8 and not spec.scheme.sym and spec.scheme.packing is Packing.GPTQ:
            return "an 8-bit zero point of 256, which this packing can hold, does not fit its int8"
        return None

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """ARK's blob: codes, float32 scales, and sums of the weights for int8, each padded to its tiles."""
        import auto_round_kernel as ark

        size: int = ark.cpu_lib.packed_weight_size(
            0,  # the stream, which the CPU has none of
            spec.out_features,
            spec.in_features,
            spec.group_size,
            ark.cvtstr_dtype(self._compute_type),
            ark.cvtstr_dtype(_WEIGHT_TYPE_OF_BITS[spec.scheme.bits]),
            ark.cvtstr_dtype(_SCALE_TYPE),
            _is_asym(spec),
        )
        return size

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """packed: ARK's own blob, int8 [bytes]; bias: float32 [N], empty where the layer has none."""
        import auto_round_kernel as ark

        _check_threads()
        scheme = weight.spec.scheme
        weight_type = _WEIGHT_TYPE_OF_BITS[scheme.bits]
        middle = 1 << (int(weight_type.removeprefix("int")) - 1)
        is_asym = _is_asym(weight.spec)
        zero_points = (weight.zero_points - middle).to(torch.int8) if is_asym else torch.empty(0, dtype=torch.int8)
        # In place and back again: ARK itself takes three bytes a code meanwhile, and a copy would be a fourth.
        codes = weight.codes.sub_(middle)  # uint8 wraps to the bits of the negative numbers
        try:
            packed: torch.Tensor = ark.repack_quantized_weight(
                codes.view(torch.int8).contiguous(),
                weight.scales.float().contiguous(),
                zero_points.contiguous(),
                weight.spec.group_size,
                self._compute_type,
                weight_type,
                _SCALE_TYPE,
                is_asym,
            )
        finally:
            codes.add_(middle)
        bias = weight.bias.float() if weight.bias is not None else torch.empty(0)
        return {"packed": packed, "bias": bias}

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in ARK's arithmetic and return x's dtype."""
        import auto_round_kernel as ark

        _check_threads()
        # woqgemm reads `A.contiguous().data_ptr()` after that copy is freed, which gives wrong numbers for slices:
        # auto_round_kernel/__init__.py:629, auto-round-lib 0.16.0.
        rows = x.reshape(-1, spec.in_features).float().contiguous()
        y: torch.Tensor = ark.woqgemm(
            rows,
            buffers["packed"],
            buffers["bias"],
            spec.out_features,
            spec.in_features,
            spec.group_size,
            self._compute_type,
            _WEIGHT_TYPE_OF_BITS[spec.scheme.bits],
            _SCALE_TYPE,
            _is_asym(spec),
            out=torch.empty(rows.shape[0], spec.out_features),
        )
        return y.to(x.dtype).reshape(*x.shape[:-1], spec.out_features)

    def bind(
        self, buffers: Mapping[str, torch.Tensor], spec: LayerSpec
    ) -> Callable[[torch.Tensor, torch.Tensor], object]:
        """Return `forward` as a function of contiguous float32 rows that writes to contiguous float32 rows.

        It checks no shapes and allocates nothing, which at one row of a small layer is half of the time; it holds the
        addresses of `buffers`, which must outlive it.
        """
        import auto_round_kernel as ark

        multiply = ark.cpu_lib.woqgemm
        packed, bias = buffers["packed"], buffers["bias"]
        sizes = (spec.out_features, spec.in_features)
        weight = packed.data_ptr()
        compute, codes, scales = map(
            ark.cvtstr_dtype, (self._compute_type, _WEIGHT_TYPE_OF_BITS[spec.scheme.bits], _SCALE_TYPE)
        )
        kind = (bias.data_ptr(), spec.group_size, compute, codes, scales, _is_asym(spec), packed.numel())

        def into(rows: torch.Tensor, out: torch.Tensor) -> None:
            _check_threads()
            multiply(0, rows.shape[0], *sizes, rows.data_ptr(), ark.ARK_DT.float32, weight, out.data_ptr(), *kind)

        return into


@functools.cache
def _threads_at_first_call() -> int:
    return torch.get_num_threads()


def _check_threads() -> None:
    """ARK divides a product by the threads that there were at its first call; fewer would leave columns unwritten.

    Seen with auto-round-lib 0.16.0. Raises UnsupportedError.
    """
    if torch.get_num_threads() < _threads_at_first_call():
        raise UnsupportedError(
            f"torch has {torch.get_num_threads()} threads, but had {_threads_at_first_call()} when auto-round-lib's "
            "kernels began, which would leave a part of every product out; set the number of threads before that"
        )


def _is_asym(spec: LayerSpec) -> bool:
    """A symmetric layer's zero point is off the middle of a container that is wider than its codes."""
    return not spec.scheme.sym or _WEIGHT_TYPE_OF_BITS[spec.scheme.bits] != f"int{spec.scheme.bits}"
