"""What is said where Gaudi's software is installed but cannot run the op; small stand-ins take its place."""

import subprocess
import sys
from pathlib import Path

import pytest

SELECT = """
import sys
import torch
from tgi_autoround.checkpoint import LayerSpec, Packing, QuantScheme
from tgi_autoround.kernels import KERNELS, select
spec = LayerSpec("layer", QuantScheme(4, 128, True, Packing.GPTQ), 256, 256, has_bias=False)
if sys.argv[1] == "with op":
    import hpu_emulation
    hpu_emulation.register()
gaudi = next(kernel for kernel in KERNELS if kernel.name == "hpu-uint4")
print(select(spec, torch.device("hpu"), torch.bfloat16).name)
print(gaudi.supports(spec, torch.device("hpu"), torch.bfloat16))
"""


@pytest.mark.parametrize(
    ("op", "lazy", "kernel", "reason"),
    [
        ("without op", True, "dequantized", "has no op torch.ops.hpu.convert_from_uint4"),
        ("with op", False, "dequantized", "set PT_HPU_LAZY_MODE=1"),
        ("with op", True, "hpu-uint4", "None"),
    ],
)
def test_four_bits_are_dequantized_once_where_the_op_cannot_run(
    op: str, lazy: bool, kernel: str, reason: str, tmp_path: Path
) -> None:
    internal = tmp_path / "habana_frameworks/torch/utils/internal.py"
    internal.parent.mkdir(parents=True)
    internal.write_text(f"def is_lazy():\n    return {lazy}\n", encoding="utf-8")
    lib = Path(__file__).parents[2] / "scripts/lib"
    finished = subprocess.run(
        [sys.executable, "-c", SELECT, op],
        env={"PYTHONPATH": f"{tmp_path}:{lib}"},
        capture_output=True,
        text=True,
        check=True,
    )
    chosen, sentence = finished.stdout.splitlines()
    assert chosen == kernel
    assert reason in sentence
