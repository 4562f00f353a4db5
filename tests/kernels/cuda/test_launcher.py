"""What reaches the driver, checked by a double of it in C: order, sizes and alignment of parameters, errors."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.kernels.cuda.fake_driver import FakeDriver, compiled_double
from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda import driver, launcher, manifest
from tgi_autoround.kernels.cuda.launcher import Function
from tgi_autoround.kernels.cuda.manifest import Argument, Cubin, TensorMap
from tgi_autoround.kernels.cuda.tensor_map import Layout

IMAGE = b"machine code"
CUBIN = Cubin(
    name="multiply",
    architecture="sm_90a",
    file="multiply.cubin",
    sha256=hashlib.sha256(IMAGE).hexdigest(),
    symbol="multiply_packed",
    minimum_driver=12000,
    shared_bytes=70_000,
    warps=8,
    arguments=(Argument("x", "*bf16"), Argument("rows", "i32"), Argument("y", "*bf16"), Argument("stride", "i64")),
    constants={},
    made_from="",
)
SIZES = (8, 4, 8, 8, 8, 8)
READ_BY_COPY_ENGINE = Argument("x", "tensordesc", TensorMap(element_type=9, swizzle=3, block=(16, 64)))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeDriver]:
    double = FakeDriver(compiled_double())
    monkeypatch.setattr(driver, "library", lambda: double.library)
    (tmp_path / CUBIN.file).write_bytes(IMAGE)
    manifest.write([CUBIN], {}, tmp_path)
    shipped = manifest.read(tmp_path)
    monkeypatch.setattr(manifest, "shipped", lambda: shipped)
    monkeypatch.setattr(Cubin, "image", lambda self: IMAGE)
    driver.version.cache_clear()
    yield double
    driver.version.cache_clear()


def test_a_kernel_is_loaded_into_its_devices_context_with_the_shared_memory_that_it_needs(fake: FakeDriver) -> None:
    Function(CUBIN, 1)
    assert fake.calls() == [
        "context of GPU 1",
        "load machine code",
        "function multiply_packed of 0x1100",
        "cache 0x7700000022 1",
        "attribute 0x7700000022 8 70000",
    ]


def test_small_shared_memory_is_not_asked_for(fake: FakeDriver) -> None:
    Function(replace(CUBIN, shared_bytes=48 * 1024), 0)
    assert not any(call.startswith("attribute") for call in fake.calls())


def test_every_parameter_arrives_in_order_with_its_size_and_alignment(fake: FakeDriver) -> None:
    function = Function(CUBIN, 0)
    fake.calls()
    fake.expect_parameters(SIZES)
    function.launch((5, 6, 7), (2**45 + 1, -1, 2**44, 2**40), stream=0xABC)
    assert fake.calls() == [
        "launch 0x7700000022 grid 5 6 7 block 256 1 1 shared 70000 stream 0xabc values "
        f"{2**45 + 1} {2**32 - 1} {2**44} {2**40} 0 0"
    ]


def test_overlapping_launches_carry_the_attribute_and_others_do_not(fake: FakeDriver) -> None:
    function = Function(CUBIN, 0)
    fake.calls()
    fake.expect_parameters(())
    function.launch((1, 1, 1), (0, 0, 0, 0), 0, overlap=True)
    function.launch((1, 1, 1), (0, 0, 0, 0), 0)
    overlapping, plain = fake.calls()
    assert "attribute 6=1" in overlapping
    assert "attribute" not in plain


def test_a_tensor_is_described_to_the_copy_engine_once_a_buffer(fake: FakeDriver) -> None:
    function = Function(replace(CUBIN, arguments=(READ_BY_COPY_ENGINE, Argument("rows", "i32"))), 0)
    fake.calls()
    fake.expect_parameters((128, 4, 4, 8, 8, 4, 8, 8))
    first, second = (torch.zeros(3, 128, dtype=torch.bfloat16) for _ in range(2))
    for tensor in (first, second, first):
        function.launch((1, 1, 1), (3, 128, 128, 1, 3), 0, [(tensor.data_ptr(), Layout((3, 128), (128, 1), 2))])
    calls = fake.calls()
    described = [call for call in calls if call.startswith("map")]
    assert [call.partition(" type")[2] for call in described] == [
        f" 9 at {tensor.data_ptr():#x} sizes 128 3 strides 256 box 64 by 1 16 by 1 modes 0 3 2 0"
        for tensor in (first, second)
    ]
    maps = [call.split()[1] for call in described]
    passed = [call.partition(" values ")[2] for call in calls if call.startswith("launch")]
    assert passed == [f"map:{each}/0 3 128 128 1 3 0 0" for each in (maps[0], maps[1], maps[0])]


def test_a_tensor_that_the_copy_engine_cannot_read_is_refused_in_a_sentence(fake: FakeDriver) -> None:
    function = Function(replace(CUBIN, arguments=(READ_BY_COPY_ENGINE,)), 0)
    with pytest.raises(KernelError, match=r"strides \(1, 128\).*make it contiguous"):
        function.launch((1, 1, 1), (3, 128, 1, 128), 0, [(2**20, Layout((3, 128), (1, 128), 2))])


def test_a_thread_that_has_no_context_gets_the_devices(fake: FakeDriver) -> None:
    function = Function(CUBIN, 1)
    fake.calls()
    fake.expect_parameters(())
    fake.lose_context()
    function.launch((1, 1, 1), (0, 0, 0, 0), 0)
    assert [call.split(" grid")[0] for call in fake.calls()] == ["context of GPU 1", "launch 0x7700000022"]


def test_launches_of_many_threads_do_not_mix_their_parameters(fake: FakeDriver) -> None:
    function = Function(CUBIN, 0)
    fake.calls()
    fake.expect_parameters(SIZES)

    def launch(number: int) -> None:
        for _ in range(20):
            function.launch((number, 1, 1), (number, number, number, number), number)

    threads = [threading.Thread(target=launch, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = fake.calls()
    assert len(calls) == 160
    for call in calls:
        number = call.split()[3]
        assert call.endswith(f"stream {int(number):#x} values {number} {number} {number} {number} 0 0")


@pytest.mark.parametrize(
    ("call", "code", "sentence"),
    [
        (
            "cuModuleLoadData",
            209,
            r"loading the kernel multiply.*CUDA_ERROR_NAME \(209\): there is no machine code for",
        ),
        ("cuFuncSetAttribute", 1, r"needs 70000 bytes of shared memory.*what the driver says"),
        ("cuModuleGetFunction", 999, r"error 999: it does not say why"),
    ],
)
def test_what_the_driver_refuses_becomes_a_sentence(fake: FakeDriver, call: str, code: int, sentence: str) -> None:
    fake.fail(call, code)
    with pytest.raises(KernelError, match=sentence):
        Function(CUBIN, 0)


def test_a_launch_that_fails_says_which_and_why(fake: FakeDriver) -> None:
    function = Function(CUBIN, 0)
    fake.expect_parameters(())
    fake.fail("cuLaunchKernelEx", 701)
    with pytest.raises(KernelError, match=r"multiply on a grid of \(1, 2, 3\).*\(701\): the kernel asks for more"):
        function.launch((1, 2, 3), (0, 0, 0, 0), 0)


def test_machine_code_is_for_one_capability_and_for_drivers_that_are_new_enough(fake: FakeDriver) -> None:
    assert launcher.find_cubin("multiply", (9, 0)) == CUBIN
    assert launcher.find_cubin("multiply", (8, 0)) is None
    assert launcher.find_cubin("multiply", (12, 0)) is None
    assert launcher.find_cubin("divide", (9, 0)) is None
    driver.version.cache_clear()
    fake.set_version(11080)
    assert launcher.find_cubin("multiply", (9, 0)) is None


def test_machine_code_that_differs_from_the_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / CUBIN.file).write_bytes(IMAGE)
    assert CUBIN.image(tmp_path) == IMAGE
    (tmp_path / CUBIN.file).write_bytes(b"other")
    with pytest.raises(KernelError, match=r"multiply\.cubin does not have the sha256 of the manifest"):
        CUBIN.image(tmp_path)
    (tmp_path / CUBIN.file).unlink()
    with pytest.raises(KernelError, match="install the package again"):
        CUBIN.image(tmp_path)


def test_a_package_without_machine_code_ships_nothing_and_a_broken_manifest_is_named(tmp_path: Path) -> None:
    assert manifest.read(tmp_path) == {}
    (tmp_path / "manifest.json").write_text('{"cubins": [{}]}', encoding="utf-8")
    with pytest.raises(KernelError, match=r"manifest\.json cannot be read"):
        manifest.read(tmp_path)


def test_without_libcuda_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(driver.ctypes, "CDLL", missing)
    driver.library.cache_clear()
    with pytest.raises(KernelError, match=r"libcuda\.so\.1.*install the driver"):
        driver.library()
    driver.library.cache_clear()
