"""Compile the CUDA kernels without a GPU, as a GPU's first launch would."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda import launch
from tgi_autoround.kernels.cuda.configuration import Configuration
from tgi_autoround.kernels.cuda.layout import features_in_tile

TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
OF_16_BYTES = ("x_stride", "in_features", "out_features")


def compile_multiply(
    spec: LayerSpec, dtype: torch.dtype, configuration: Configuration, capability: int
) -> triton.compiler.CompiledKernel:
    text, offset = launch.instructions(spec.scheme.bits, dtype)
    constants = {
        "BITS": spec.scheme.bits,
        "RUN": launch._run(spec),
        "SCATTERED": launch._is_scattered(spec),
        "IN_WHOLE_TILES": spec.in_features % features_in_tile(spec.scheme.bits) == 0,
        "IS_SPLIT": configuration.splits > 1,
        "ROWS": configuration.rows,
        "COLUMNS": configuration.columns,
        "INSTRUCTIONS": text,
        "OFFSET": offset,
        "OPERAND": getattr(tl, str(dtype).removeprefix("torch.")),
    }
    pointers = {"x": f"*{TYPES[dtype]}", "result": f"*{TYPES[dtype]}", "partial_sums": "*fp32", "arrivals": "*i32"}
    options = {"num_warps": configuration.warps, "num_stages": configuration.stages}
    return _compile(launch.multiply_packed, spec, constants, pointers, capability, options)


def compile_dequantize(spec: LayerSpec, dtype: torch.dtype, capability: int) -> triton.compiler.CompiledKernel:
    constants = {"BITS": spec.scheme.bits, "SCATTERED": launch._is_scattered(spec), "ROWS": 64}
    return _compile(launch.dequantize_packed, spec, constants, {"result": f"*{TYPES[dtype]}"}, capability, {})


def local_memory_bytes(kernel: triton.compiler.CompiledKernel) -> int:
    """What a thread spills, as the disassembler says."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    report = usage.stdout + usage.stderr
    return sum(int(report.split(f"{kind}:")[1].split()[0]) for kind in ("STACK", "LOCAL"))


def _compile(
    kernel: Any,
    spec: LayerSpec,
    constants: dict[str, Any],
    pointers: dict[str, str],
    capability: int,
    options: dict[str, int],
) -> triton.compiler.CompiledKernel:
    pointers = {"lanes": "*i16", "scales": "*fp16", **pointers}
    optional = {"zero_points": None if spec.scheme.sym else "*u8", "bias": "*fp16" if spec.has_bias else None}
    pointers |= {name: kind for name, kind in optional.items() if kind is not None}
    constants = {**constants, **{name: None for name, kind in optional.items() if kind is None}}
    names = kernel.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
    aligned = [index for index, name in enumerate(names) if name in pointers or name in OF_16_BYTES]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(index,): [["tt.divisibility", 16]] for index in aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
