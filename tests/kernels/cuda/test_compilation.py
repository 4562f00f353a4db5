"""Every kernel that is shipped compiles, without a GPU, into the instructions that were meant, and spills nothing.

So do kernels of layers that are not among the shipped, as a GPU's first launch would compile them.
"""

from dataclasses import replace

import pytest

from tests.kernels.cuda.conftest import Shipped
from tests.kernels.cuda.disassembly import Disassembly, local_memory_bytes
from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda.aot.compiler import compile_ahead, made_from
from tgi_autoround.kernels.cuda.aot.everything import everything
from tgi_autoround.kernels.cuda.manifest import CUBINS, Cubin
from tgi_autoround.kernels.cuda.specialization import Specialization

WANTED = {(each.architecture, each.name): each for each in everything()}
MOST_FILES = 320
MOST_BYTES = 25_000_000
READ_IN_FULL = {
    "sm_80": "multiply-w4",
    "sm_86": "multiply-w4",
    "sm_89": "multiply-w4",
    "sm_90a": ("multiply", "hopper"),
}
"""Names that begin so: disassembling takes its time, and the first three architectures have the same instructions."""


def test_every_specialization_is_compiled_and_fits_the_wheel(shipped: Shipped) -> None:
    assert shipped.keys() == WANTED.keys()
    assert all(cubin.made_from == made_from(WANTED[key]) for key, cubin in shipped.items())
    files = {path.name for path in CUBINS.iterdir()}
    assert files == {"manifest.json", *(cubin.file for cubin in shipped.values())}
    assert len(shipped) <= MOST_FILES
    assert sum(path.stat().st_size for path in CUBINS.iterdir()) < MOST_BYTES


def test_drivers_of_cuda_12_load_all_of_it(shipped: Shipped) -> None:
    assert {cubin.minimum_driver for cubin in shipped.values()} == {12000}


def test_nothing_spills_to_local_memory(shipped: Shipped) -> None:
    assert {cubin.file: local_memory_bytes(CUBINS / cubin.file) for cubin in shipped.values()} == {
        cubin.file: 0 for cubin in shipped.values()
    }


@pytest.mark.parametrize("architecture", READ_IN_FULL)
def test_products_run_on_tensor_cores_and_nothing_is_shuffled_between_threads_meanwhile(
    shipped: Shipped, architecture: str
) -> None:
    products = [cubin for (where, _), cubin in shipped.items() if where == architecture]
    products = [cubin for cubin in products if cubin.name.startswith(READ_IN_FULL[architecture])]
    assert products
    for cubin in products:
        code, instruction = Disassembly(CUBINS / cubin.file), _tensor_cores_instruction(cubin)
        assert code.loops_with(instruction) > 0, cubin.file
        for moving in ("SHFL", "LDL", "STL"):
            assert code.in_loops(moving, beside=instruction) == 0, (cubin.file, moving)


def _tensor_cores_instruction(cubin: Cubin) -> str:
    """Hopper's own (wgmma) multiplies at least 64 outputs at once, which is too many for its kernel for few rows."""
    is_wgmma = cubin.architecture == "sm_90a" and not cubin.name.startswith("hopper-few")
    return "HGMMA" if is_wgmma else "HMMA"


UNUSUAL = [
    ("sm_80", {"BITS": 5, "RUN": 32, "IN_WHOLE_TILES": False, "INSTRUCTIONS": None}),
    ("sm_90a", {"BITS": 3, "RUN": 32, "IN_WHOLE_TILES": False, "SCATTERED": True, "INSTRUCTIONS": None}),
    ("sm_89", {"RUN": 64}),
]


@pytest.mark.parametrize(("architecture", "constants"), UNUSUAL, ids=str)
def test_layers_that_are_not_shipped_compile_too(
    architecture: str, constants: dict[str, int | None], shipped: Shipped
) -> None:
    usual = WANTED[architecture, "multiply-w4-bf16-run128-16x64"]
    compiled = compile_ahead(_unusual(usual, constants))
    assert ("wgmma" if architecture == "sm_90a" else "mma.sync") in compiled.ptx


def test_arguments_in_another_order_than_the_kernels_are_refused() -> None:
    usual = WANTED["sm_80", "pack-w4"]
    with pytest.raises(KernelError, match="use its order"):
        compile_ahead(replace(usual, arguments=usual.arguments[::-1]))


def _unusual(usual: Specialization, constants: dict[str, int | None]) -> Specialization:
    changed = tuple((dict(usual.constants) | constants).items())
    return replace(usual, name="unusual", constants=changed, multiples_of_16=())
