"""Products in eager mode: what reaches the driver's double, what is computed once and what is read anew."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.kernels.cuda.fake_driver import FakeDriver, compiled_double
from tests.kernels.cuda.layers import random_layer
from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda import HopperKernel, driver, launch, launcher, layout, manifest, op, plan
from tgi_autoround.kernels.cuda.configuration import Configuration
from tgi_autoround.kernels.cuda.hopper.configuration import all_of, choose
from tgi_autoround.kernels.cuda.hopper.shipped import FewRows, hopper
from tgi_autoround.kernels.cuda.manifest import Argument, Cubin, TensorMap
from tgi_autoround.kernels.cuda.plan import Activations, PortablePlan
from tgi_autoround.kernels.cuda.shipped import portable
from tgi_autoround.kernels.cuda.specialization import Specialization
from tgi_autoround.kernels.cuda.workspace import workspace

CPU = torch.device("cpu")
STREAMS = {0: 0xA0, 1: 0xA1}
SIZES_OF_FEW = (*[8] * 6, *[4] * 8, 8, 8)
SIZES_OF_PORTABLE = (*[8] * 8, *[4] * 10, 8, 8)
SIZES_OF_MANY = (*[128, 4, 4, 8, 8] * 4, *[8] * 4, *[4] * 7, 8, 8)
FEW_ROWS, MANY_ROWS = 4, 300

Buffers = dict[str, torch.Tensor]


def cubin_of(made: Specialization) -> Cubin:
    boxes = TensorMap(element_type=9, swizzle=0, block=(1, 64))
    arguments = tuple(
        Argument(name, "tensordesc", boxes) if type.startswith("tensordesc") else Argument(name, type)
        for name, type in made.arguments
    )
    return Cubin(
        made.name, made.architecture, made.file_name, "", made.name, 12000, 0, made.warps, arguments, {}, made_from=""
    )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    """A driver, torch's own state of a GPU, and every kernel with no machine code in it."""
    double = FakeDriver(compiled_double())
    shipped = {(each.architecture, each.name): cubin_of(each) for each in (*hopper(), *portable())}
    monkeypatch.setattr(driver, "library", lambda: double.library)
    monkeypatch.setattr(manifest, "shipped", lambda: shipped)
    monkeypatch.setattr(Cubin, "image", lambda self: b"machine code")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: 0, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", STREAMS.__getitem__, raising=False)
    caches = (driver.version, launcher.find, op._plan)
    for cache in caches:
        cache.cache_clear()
    yield double
    for cache in caches:
        cache.cache_clear()


def layer_of(bits: int, sym: bool, in_features: int, out_features: int, *, bias: bool) -> tuple[LayerSpec, Buffers]:
    layer = random_layer(bits, sym, in_features, out_features, 128, bias=bias)
    return layer.spec, layout.pack(layer, CPU, torch.bfloat16)


def launch_of(fake: FakeDriver, x: torch.Tensor, buffers: Buffers, spec: LayerSpec) -> tuple[torch.Tensor, list[str]]:
    """The result and what the driver was asked, less what loads a kernel."""
    result = HopperKernel().forward(x, buffers, spec)
    return result, [call for call in fake.calls() if call.startswith(("map", "launch"))]


def address_of(buffers: Buffers, name: str) -> int:
    return buffers[name].data_ptr() if name in buffers else 0


@pytest.mark.parametrize(("sym", "bias"), [(True, False), (False, True)])
def test_every_call_passes_its_own_addresses_for_few_rows(fake: FakeDriver, sym: bool, bias: bool) -> None:
    spec, buffers = layer_of(4, sym, 1024, 512, bias=bias)
    other = {name: tensor.clone() for name, tensor in buffers.items()}
    fake.expect_parameters(SIZES_OF_FEW)
    wide = torch.zeros(FEW_ROWS, 2048, dtype=torch.bfloat16)
    for of_layer in (buffers, other, buffers):
        for x in (torch.zeros(2, FEW_ROWS // 2, 1024, dtype=torch.bfloat16), wide[:, :1024], wide[:, 1024:]):
            result, calls = launch_of(fake, x, of_layer, spec)
            addresses = [address_of(of_layer, name) for name in ("lanes", "scales", "zero_points", "bias")]
            numbers = [FEW_ROWS, x.stride(-2) * 2, 1024, 512, 7, 1024 // 128, int(not sym), int(bias)]
            assert result.shape == (*x.shape[:-1], 512)
            assert len(calls) == 1
            assert calls[0].split("values ")[1].split() == [
                str(value) for value in (x.data_ptr(), *addresses, result.data_ptr(), *numbers, 0, 0)
            ]


def test_every_call_of_the_portable_kernel_passes_its_own_addresses(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "workspace", lambda device: workspace(CPU))
    space, gpu = workspace(CPU), torch.device("cuda", 0)
    spec, buffers = layer_of(4, False, 1024, 512, bias=True)
    other = {name: tensor.clone() for name, tensor in buffers.items()}
    multiply = PortablePlan(
        Activations(FEW_ROWS, 1024, torch.bfloat16, gpu), spec, Configuration(16, 64, warps=4, stages=3, splits=2)
    )
    fake.calls()
    fake.expect_parameters(SIZES_OF_PORTABLE)
    for of_layer in (buffers, other):
        x = torch.zeros(FEW_ROWS, 1024, dtype=torch.bfloat16)
        result = multiply(x, of_layer)
        names = ("lanes", "scales", "zero_points", "bias")
        of_tensors = (x.data_ptr(), *(address_of(of_layer, name) for name in names), result.data_ptr())
        of_workspace = (space.partial_sums.data_ptr(), space.arrivals.data_ptr())
        numbers = (FEW_ROWS, 1024, 1024, 512, 128, 8, 8, 4, 0, 1)
        (call,) = fake.calls()
        assert " grid 8 2 1 " in call
        assert call.split("values ")[1] == " ".join(map(str, (*of_tensors, *of_workspace, *numbers, 0, 0)))


@pytest.mark.parametrize(("bits", "sym", "bias"), [(4, True, False), (4, False, True), (8, False, False)])
def test_every_call_describes_its_own_matrices_for_many_rows(
    fake: FakeDriver, bits: int, sym: bool, bias: bool
) -> None:
    spec, buffers = layer_of(bits, sym, 1024, 512, bias=bias)
    choice, x = choose(MANY_ROWS, spec), torch.zeros(MANY_ROWS, 1024, dtype=torch.bfloat16)
    assert choice is not None
    assert not isinstance(choice.shape, FewRows)
    fake.expect_parameters(SIZES_OF_MANY)
    result, calls = launch_of(fake, x, buffers, spec)
    matrices = (
        x,
        buffers["lanes"].view(torch.int32).view(-1, 16),
        buffers["scales"],
        buffers["scales" if sym else "zero_points"],
    )
    described = [call.partition(" at ")[2].partition(" box")[0] for call in calls[:-1]]
    assert described == [
        f"{each.data_ptr():#x} sizes {each.shape[1]} {each.shape[0]} strides {each.stride(0) * each.element_size()}"
        for each in matrices
    ]
    of_matrices = [
        f"map:{call.split()[1]}/0 {rows} {columns} {columns} 1"
        for call, (rows, columns) in zip(calls[:-1], (each.shape for each in matrices), strict=True)
    ]
    space = workspace(CPU)
    numbers = (
        address_of(buffers, "bias"),
        result.data_ptr(),
        space.partial_sums.data_ptr(),
        space.arrivals.data_ptr(),
        *(MANY_ROWS, 512, 7, buffers["lanes"].shape[0], choice.share, int(not sym), int(bias)),
    )
    assert calls[-1].split("values ")[1] == " ".join([*of_matrices, *map(str, numbers), "0 0"])


def test_only_activations_that_moved_are_described_anew(fake: FakeDriver) -> None:
    spec, buffers = layer_of(4, True, 1024, 512, bias=False)
    here, there = (torch.zeros(MANY_ROWS, 1024, dtype=torch.bfloat16) for _ in range(2))
    described = [len(launch_of(fake, x, buffers, spec)[1]) - 1 for x in (here, there, here, there)]
    assert described == [4, 1, 0, 0]


def test_memory_that_is_used_again_for_another_shape_is_described_anew(fake: FakeDriver) -> None:
    memory = torch.zeros(2 * MANY_ROWS * 1024, dtype=torch.bfloat16)
    for in_features, strides in ((1024, (1024, 1)), (1024, (2048, 1)), (512, (512, 1))):
        spec, buffers = layer_of(4, True, in_features, 512, bias=False)
        _, calls = launch_of(fake, memory.as_strided((MANY_ROWS, in_features), strides), buffers, spec)
        of_x = calls[0].partition(" at ")[2]
        assert of_x.startswith(f"{memory.data_ptr():#x} sizes {in_features} {MANY_ROWS} strides {2 * strides[0]} box")


def test_a_thousand_layers_are_described_once(fake: FakeDriver) -> None:
    spec, buffers = layer_of(4, True, 128, 64, bias=False)
    x = torch.zeros(MANY_ROWS, 128, dtype=torch.bfloat16)
    layers = [{name: tensor.clone() for name, tensor in buffers.items()} for _ in range(1000)]
    for each in layers:
        launch_of(fake, x, each, spec)
    again = [call for each in layers for call in launch_of(fake, x, each, spec)[1]]
    assert [call for call in again if call.startswith("map")] == []


def test_a_product_on_a_device_that_is_not_torchs_current_one_makes_it_so(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched = []
    monkeypatch.setattr(torch.cuda, "_exchange_device", lambda device: switched.append(device) or 0)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", lambda device: switched.append(device) or 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    fake.expect_parameters(())
    spec, buffers = layer_of(4, True, 1024, 512, bias=False)
    _, calls = launch_of(fake, torch.zeros(1, 1024, dtype=torch.bfloat16), buffers, spec)
    assert switched == [1, 0]
    assert [call.split(" stream ")[1].split()[0] for call in calls] == [f"{STREAMS[1]:#x}"]


@pytest.mark.parametrize(("bits", "group_size"), [(2, 128), (3, 128), (4, 32), (4, 128), (8, 128)])
@pytest.mark.parametrize("sides", [(1024, 512), (4096, 28672), (14336, 4096), (28672, 8192)])
def test_what_is_loaded_for_a_layer_is_all_that_it_takes(bits: int, group_size: int, sides: tuple[int, int]) -> None:
    spec = random_layer(bits, True, 128, 16, 128).spec
    spec = replace(
        spec, scheme=replace(spec.scheme, group_size=group_size), in_features=sides[0], out_features=sides[1]
    )
    taken = {choose(rows, spec) for rows in (*range(1, 520), 1000, 1024, 4096, 100_000)}
    assert {each and each.shape for each in taken} == {each and each.shape for each in all_of(spec)}


def test_layers_of_a_kind_are_warmed_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tgi_autoround.kernels.cuda import jit

    run: list[tuple[object, ...]] = []
    monkeypatch.setattr(jit, "multiply", lambda grid, tensors, numbers, spec, configuration: run.append((grid,)))
    monkeypatch.setattr(jit, "dequantize", lambda grid, tensors, numbers, spec: run.append((grid,)))
    monkeypatch.setattr(launch, "_WARM", set())
    spec, buffers = layer_of(4, True, 256, 64, bias=False)
    counts = []
    for kind, dtype in (
        (spec, torch.bfloat16),
        (replace(spec, name="another"), torch.bfloat16),
        (spec, torch.float16),
        (replace(spec, out_features=32), torch.float16),
        (spec, torch.bfloat16),
    ):
        launch.warm_up(buffers, kind, dtype)
        counts.append(len(run))
        run.clear()
    assert [bool(count) for count in counts] == [True, False, True, True, False]


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_nothing_is_loaded_for_a_second_layer_of_a_kind_nor_while_serving(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    from tgi_autoround.kernels.cuda import jit

    compiled: list[str] = []
    monkeypatch.setattr(launch, "pack_lanes", layout.pack_lanes)
    monkeypatch.setattr(launch, "_WARM", set())
    monkeypatch.setattr(jit, "multiply", lambda *_: compiled.append("multiply"))
    monkeypatch.setattr(jit, "dequantize", lambda *_: compiled.append("dequantize"))
    layer, kernel = random_layer(bits, False, 1024, 512, 128), HopperKernel()
    kernel.prepare(layer, CPU, torch.bfloat16)
    assert any(call.startswith("load") for call in fake.calls())
    compiled.clear()
    second = replace(layer, spec=replace(layer.spec, name="another"))
    buffers = kernel.prepare(second, CPU, torch.bfloat16)
    assert (fake.calls(), compiled) == ([], [])
    for rows in (*range(1, 70), 96, 128, 129, 256, 257, 512, 1000):
        kernel.forward(torch.zeros(rows, 1024, dtype=torch.bfloat16), buffers, second.spec)
        assert not any(call.startswith("load") for call in fake.calls()), rows
