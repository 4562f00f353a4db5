"""Whether the kernels here run on a machine. Imports no triton, which may be what is missing."""

import os
import shutil
from importlib.util import find_spec

import torch

OLDEST_CAPABILITY = (8, 0)


def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why the engine's kernels do not compute in `dtype` on a GPU, None where they do."""
    if dtype not in (torch.float16, torch.bfloat16):
        return f"the engine's kernels for GPUs compute in float16 and bfloat16, and {dtype} was asked for"
    if torch.version.hip is not None:
        return "the engine's kernels were written for NVIDIA GPUs"
    if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return "the engine's kernels need a GPU of compute capability 8.0 or later"
    if find_spec("triton") is None:
        return "the engine's kernels need triton, which is not installed"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler, and neither gcc nor clang is installed"
    return None
