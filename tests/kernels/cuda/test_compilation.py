"""The CUDA kernels compile for every GPU they take, into tensor cores' instructions, without spilling registers."""

from pathlib import Path

import pytest
import torch

from tests.kernels.cuda.compiled import compile_dequantize, compile_multiply, local_memory_bytes
from tgi_autoround.checkpoint import LayerSpec, Packing, QuantScheme
from tgi_autoround.kernels.cuda.configuration import Device, choose

SMALLEST_SHARED = 101_376
"""Bytes that a block may take on GPUs of capabilities 8.6, 8.9 and 12.0; others have more."""
MULTIPLICATION = {80: "mma.sync", 86: "mma.sync", 89: "mma.sync", 90: "wgmma.mma_async"}


@pytest.fixture(autouse=True)
def _compile_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def spec_of(bits: int, *, sym: bool, group_size: int = 128, in_features: int = 4096) -> LayerSpec:
    scheme = QuantScheme(bits, group_size, sym, Packing.GPTQ)
    return LayerSpec("layer", scheme, in_features, 4096, has_bias=not sym)


@pytest.mark.parametrize(
    ("capability", "spec", "dtype", "rows"),
    [
        (80, spec_of(4, sym=False), torch.bfloat16, 1),
        (80, spec_of(8, sym=True, group_size=32), torch.bfloat16, 64),
        (86, spec_of(2, sym=False, group_size=64), torch.float16, 256),
        (89, spec_of(3, sym=True), torch.bfloat16, 32),
        (90, spec_of(4, sym=False), torch.bfloat16, 256),
        (90, spec_of(4, sym=True, group_size=-1), torch.float16, 1),
        (90, spec_of(3, sym=False, group_size=8, in_features=1000), torch.bfloat16, 1),
    ],
    ids=str,
)
def test_the_fused_kernel_compiles(capability: int, spec: LayerSpec, dtype: torch.dtype, rows: int) -> None:
    configuration = choose(rows, spec, Device(multiprocessors=108, shared_bytes=SMALLEST_SHARED))
    kernel = compile_multiply(spec, dtype, configuration, capability)
    assert MULTIPLICATION[capability] in kernel.asm["ptx"]
    assert local_memory_bytes(kernel) == 0
    assert kernel.metadata.shared <= SMALLEST_SHARED


@pytest.mark.parametrize("capability", [80, 90])
def test_the_dequantizing_kernel_compiles(capability: int) -> None:
    kernel = compile_dequantize(spec_of(3, sym=False), torch.bfloat16, capability)
    assert local_memory_bytes(kernel) == 0
