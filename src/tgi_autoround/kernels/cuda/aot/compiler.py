"""One specialization through triton: its source, a hash of all that it is made from, and its machine code."""

import functools
import hashlib
import os
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda.manifest import Argument, Cubin, TensorMap
from tgi_autoround.kernels.cuda.specialization import ARCHITECTURE_OF_CAPABILITY, Specialization

OLDEST_DRIVER_OF_PTXAS = {12: 12000, 13: 13000}
"""Machine code runs on drivers from the first of its CUDA's major version on ("minor version compatibility")."""

_CAPABILITY = {name: 10 * major + minor for (major, minor), name in ARCHITECTURE_OF_CAPABILITY.items()}
_DRIVERS_NAME_OF_ELEMENT = {8: 10, 9: 8, 10: 9}
"""Element types that triton numbers otherwise than the driver does: triton/backends/nvidia/driver.py:196, 3.9.0."""
_DIVISIBLE_BY_16 = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class Compiled:
    """What was compiled, and its machine code, PTX and so on by triton's names for them."""

    cubin: Cubin
    image: bytes
    ptx: str


def use_ptxas_of_cuda_12() -> None:
    """Have triton assemble for sm_90a with the older of its two assemblers, whose code CUDA 12's drivers load too.

    triton takes the newer, meant for Blackwell, from sm_90 on: triton/backends/nvidia/compiler.py:36, 3.9.0.
    """
    os.environ["TRITON_PTXAS_BLACKWELL_PATH"] = triton.knobs.nvidia.ptxas.path
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"


@functools.cache
def compilers() -> dict[str, str]:
    """Return the versions of what compiles."""
    return {"triton": triton.__version__, "ptxas": triton.knobs.nvidia.ptxas.version}


def made_from(specialization: Specialization) -> str:
    """Return a hash of source, options and compilers: machine code made from the same is the same."""
    parts = (_source(specialization).hash(), _options(specialization), specialization.architecture, compilers())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def compile_ahead(specialization: Specialization) -> Compiled:
    """Compile without a GPU. Raises KernelError where the kernel asks for what the launcher does not give it."""
    target = GPUTarget("cuda", _CAPABILITY[specialization.architecture], 32)
    kernel = triton.compile(_source(specialization), target=target, options=_options(specialization))
    _check_launchable(specialization, kernel)
    image: bytes = kernel.asm["cubin"]
    cubin = Cubin(
        name=specialization.name,
        architecture=specialization.architecture,
        file=specialization.file_name,
        sha256=hashlib.sha256(image).hexdigest(),
        symbol=kernel.metadata.name,
        minimum_driver=OLDEST_DRIVER_OF_PTXAS[int(compilers()["ptxas"].split(".")[0])],
        shared_bytes=kernel.metadata.shared,
        warps=kernel.metadata.num_warps,
        arguments=tuple(_arguments(specialization, kernel.metadata)),
        constants=dict(specialization.constants),
        made_from=made_from(specialization),
    )
    return Compiled(cubin, image, kernel.asm["ptx"])


def _source(specialization: Specialization) -> Any:
    kernel = _kernel(specialization)
    names = list(kernel.arg_names)
    types = dict(specialization.arguments)
    order = [name for name in names if name in types]
    if order != list(types):
        raise KernelError(f"{specialization.file_name}: the kernel takes {order} and not {list(types)}; use its order")
    aligned = {name for name, type in types.items() if type.startswith("*")} | set(specialization.multiples_of_16)
    return _source_type(kernel)(
        fn=kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in specialization.constants},
        attrs={(names.index(name),): _DIVISIBLE_BY_16 for name in names if name in aligned},
    )


def _kernel(specialization: Specialization) -> Any:
    module, name = specialization.kernel.split(":")
    return getattr(import_module(f"tgi_autoround.kernels.cuda.{module}"), name)


def _source_type(kernel: Any) -> Any:
    if kernel.is_gluon():
        from triton.experimental.gluon._runtime import GluonASTSource

        return GluonASTSource
    return ASTSource


def _options(specialization: Specialization) -> dict[str, Any]:
    return {
        "num_warps": specialization.warps,
        "num_stages": specialization.stages,
        "maxnreg": specialization.max_registers,
        "enable_fp_fusion": True,
    }


def _arguments(specialization: Specialization, metadata: Any) -> list[Argument]:
    """Return the manifest's arguments: triton says of tensors that the copy engine reads how it has to see them."""
    maps = iter(metadata.tensordesc_meta or ())
    found = []
    for name, type in specialization.arguments:
        if not type.startswith("tensordesc"):
            found.append(Argument(name, type))
            continue
        meta = next(maps)
        element = _DRIVERS_NAME_OF_ELEMENT.get(meta["elem_type"], meta["elem_type"])
        found.append(Argument(name, "tensordesc", TensorMap(element, meta["swizzle"], tuple(meta["block_size"]))))
    return found


def _check_launchable(specialization: Specialization, kernel: Any) -> None:
    """The launcher passes two scratch addresses of 0 after the arguments, and starts single blocks, not clusters."""
    metadata = kernel.metadata
    if metadata.global_scratch_size or metadata.profile_scratch_size or metadata.num_ctas != 1:
        raise KernelError(f"{specialization.file_name}: it needs scratch memory or clusters, which no launch gives it")
    expected = 2
    for argument in _arguments(specialization, metadata):
        expected += 1 + (2 * len(argument.tensor_map.block) if argument.tensor_map else 0)
    entry = kernel.asm["ptx"].split(".entry", 1)[1].split("{", 1)[0]
    found = len(re.findall(r"\.param\b", entry))
    if found != expected:
        raise KernelError(f"{specialization.file_name}: it takes {found} parameters, and a launch passes {expected}")
