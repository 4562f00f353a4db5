"""The Hopper kernels without a GPU: the table's choices, what they are launched with, and the machine code itself."""

import itertools

import pytest
import torch

from tests.kernels.cuda.conftest import Shipped
from tests.kernels.cuda.disassembly import Disassembly, local_memory_bytes
from tgi_autoround.checkpoint import LayerSpec, Packing, QuantScheme
from tgi_autoround.kernels import KERNELS
from tgi_autoround.kernels.cuda import HopperKernel
from tgi_autoround.kernels.cuda.configuration import MAX_BLOCKS_TO_SPLIT, WORKSPACE_BYTES
from tgi_autoround.kernels.cuda.hopper.configuration import PORTABLE, choose, measured, reason_against
from tgi_autoround.kernels.cuda.hopper.shipped import SHAPES, SHIPPED, FewRows, ManyRows, hopper
from tgi_autoround.kernels.cuda.layout import run_of, tiles_in
from tgi_autoround.kernels.cuda.manifest import CUBINS
from tgi_autoround.tgi.kernels import KERNELS as KERNELS_OF_TGI

NAMES = {each.name for each in hopper()}
SIDES = (
    (64, 64),
    (1024, 512),
    (3584, 18944),
    (8192, 57344),
    (28672, 8192),
    (5120, 151936),
    (4096, 4096),
    (14336, 4096),
)
SHARED_BYTES_OF_BLOCK = 232_448
ROWS = (*range(1, 70), 100, 128, 129, 255, 256, 257, 500, 512, 513, 1000, 1024, 4096, 100_000)


def spec_of(bits: int, group_size: int, in_features: int = 4096, out_features: int = 4096) -> LayerSpec:
    return LayerSpec("layer", QuantScheme(bits, group_size, False, Packing.GPTQ), in_features, out_features, False)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [128, -1])
def test_any_number_of_rows_of_any_layer_has_a_kernel_that_is_compiled_and_fits_it(bits: int, group_size: int) -> None:
    for sides, rows in itertools.product(SIDES, ROWS):
        spec = spec_of(bits, group_size, *sides)
        assert reason_against(spec) is None
        choice = choose(rows, spec)
        if choice is None:
            continue
        assert {choice.shape.name(bits, choice.run, dtype) for dtype in ("bf16", "fp16")} <= NAMES
        assert run_of(spec) % choice.run == 0
        if isinstance(choice.shape, FewRows):
            assert rows <= choice.shape.rows
            assert tiles_in(spec) <= choice.shape.turns * choice.shape.warps
        else:
            check_partial_sums(choice.shape, choice.share, rows, spec)


def check_partial_sums(shape: ManyRows, share: int, rows: int, spec: LayerSpec) -> None:
    """Programs that share a block leave their sums in the workspace, two at most each, and count their arrivals."""
    if tiles_in(spec) <= share:
        return
    blocks = -(-rows // shape.rows) * -(-spec.out_features // shape.columns)
    programs = -(-blocks * tiles_in(spec) // share)
    assert programs * 2 * shape.rows * shape.columns * 4 <= WORKSPACE_BYTES
    assert programs * shape.parts <= MAX_BLOCKS_TO_SPLIT


def test_the_table_names_kernels_and_numbers_of_rows_in_ascending_order() -> None:
    for layer in measured():
        assert {name for _, name in layer.up_to_rows} <= {*SHAPES, PORTABLE}
        limits = [limit for limit, _ in layer.up_to_rows]
        assert limits == sorted(set(limits))
        for limit, name in layer.up_to_rows:
            shape = SHAPES.get(name)
            assert not isinstance(shape, FewRows) or limit <= shape.rows


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (spec_of(4, 128, in_features=4104), "multiples of 32 inputs and 16 outputs, not 4104 and 4096"),
        (spec_of(4, 128, out_features=100), "multiples of 32 inputs and 16 outputs, not 4096 and 100"),
        (spec_of(4, 96), "groups of a power of two, not of 96"),
        (spec_of(5, 128), "not compiled for 5 bits"),
        (spec_of(8, 32), "not compiled for 8 bits in groups of 32"),
    ],
)
def test_layers_that_it_does_not_take_are_refused_with_the_reason(spec: LayerSpec, reason: str) -> None:
    assert reason in str(reason_against(spec))


def test_where_it_does_not_run_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    supports, cuda = HopperKernel().supports, torch.device("cuda")
    assert "Hopper GPUs" in str(supports(spec_of(4, 128), torch.device("cpu"), torch.bfloat16))
    assert "not float32" in str(supports(spec_of(4, 128), cuda, torch.float32))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert supports(spec_of(4, 128), cuda, torch.bfloat16) == "it needs a GPU of compute capability 9.0"


@pytest.mark.parametrize(("bits", "run"), SHIPPED)
def test_machine_code_multiplies_on_tensor_cores_without_local_memory_or_shuffles(
    bits: int, run: int, shipped: Shipped
) -> None:
    for name, dtype in itertools.product(SHIPPED[bits, run], ("bf16", "fp16")):
        cubin = shipped["sm_90a", SHAPES[name].name(bits, run, dtype)]
        instruction = "HMMA" if isinstance(SHAPES[name], FewRows) else "HGMMA"
        code = Disassembly(CUBINS / cubin.file)
        assert code.count(instruction) > 0
        assert cubin.shared_bytes <= SHARED_BYTES_OF_BLOCK
        assert local_memory_bytes(CUBINS / cubin.file) == 0, cubin.file
        assert code.count("SHFL") <= code.count("ATOMG"), cubin.file  # a block's arrival is told to its warp, once


def test_it_comes_before_the_portable_kernel_and_inside_tgi_before_marlin() -> None:
    names = [kernel.name for kernel in KERNELS]
    assert names.index("cuda-hopper") == names.index("cuda-triton") - 1
    assert [kernel.name for kernel in KERNELS_OF_TGI][:2] == ["cuda-hopper", "tgi-marlin"]
