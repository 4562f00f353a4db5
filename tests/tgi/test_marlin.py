"""TGI's Marlin as a kernel, against doubles: laid out by TGI's functions, checked at load, refused where wrong."""

import sys

import pytest
import torch

from tests.kernels.cuda.layers import product_in_float64, random_layer, relative_error
from tests.tgi import marlin_double
from tests.tgi.marlin_double import forget, put_module
from tgi_autoround.checkpoint import LayerSpec, Packing, QuantScheme
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels import select
from tgi_autoround.tgi import marlin
from tgi_autoround.tgi.kernels import KERNELS
from tgi_autoround.tgi.marlin import MarlinKernel

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BOUND = {torch.float16: 0.0005, torch.bfloat16: 0.004}


@pytest.fixture
def quantization(monkeypatch: pytest.MonkeyPatch) -> marlin_double.Quantization:
    """What TGI on a GPU would load, in its place; nothing is remembered from other tests."""
    double = marlin_double.Quantization()

    def load_kernel(*, module: str, repo_id: str) -> marlin_double.Quantization:
        assert (module, repo_id) == ("quantization", "kernels-community/quantization")
        return double

    put_module(monkeypatch, "text_generation_server.utils.kernels", load_kernel=load_kernel)
    put_module(monkeypatch, "text_generation_server.layers.marlin")
    put_module(monkeypatch, "text_generation_server.layers.marlin.util", permute_scales=marlin_double.permute_scales)
    forget(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    return double


@pytest.fixture(autouse=True)
def _forget_afterwards() -> None:
    marlin._kernels.cache_clear()
    marlin._permute_scales_function.cache_clear()


def spec_of(
    *, bits: int = 4, sym: bool = True, group_size: int = 128, in_features: int = 4096, out_features: int = 4096
) -> LayerSpec:
    return LayerSpec("layer", QuantScheme(bits, group_size, sym, Packing.GPTQ), in_features, out_features, False)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(256, 64, 128), (192, 128, 32), (256, 64, -1), (128, 64, 128)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_are_packed_as_tgi_packs_them_and_multiply_right(
    bits: int, shape: tuple[int, int, int], dtype: torch.dtype, quantization: marlin_double.Quantization
) -> None:
    layer = random_layer(bits, True, *shape, bias=True)
    kernel = MarlinKernel()
    assert kernel.supports(layer.spec, CUDA, dtype) is None
    buffers = kernel.prepare(layer, CPU, dtype)
    x = torch.randn(2, 3, shape[0], generator=torch.Generator().manual_seed(0)).to(dtype)
    y = kernel.forward(x, buffers, layer.spec)
    assert y.shape == (2, 3, shape[1])
    assert relative_error(y.flatten(0, 1), product_in_float64(x.flatten(0, 1), layer)) < BOUND[dtype]
    taken = sum(tensor.nbytes for name, tensor in buffers.items() if name != "bias")
    assert taken == kernel.weight_bytes(layer.spec, dtype)


def test_only_the_first_layer_of_a_kind_is_checked(quantization: marlin_double.Quantization) -> None:
    for _ in range(3):
        MarlinKernel().prepare(random_layer(4, True, 256, 64, 128), CPU, torch.float16)
    assert quantization.products == len(marlin.ROWS_CHECKED)
    MarlinKernel().prepare(random_layer(4, True, 256, 64, 64), CPU, torch.float16)
    assert quantization.products == 2 * len(marlin.ROWS_CHECKED)


def test_a_kernel_with_other_ideas_of_the_order_stops_the_load_and_names_the_switch(
    quantization: marlin_double.Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = quantization.gptq_marlin_repack
    monkeypatch.setattr(
        quantization, "gptq_marlin_repack", lambda words, *sizes: right(words.flip(0).contiguous(), *sizes)
    )
    with pytest.raises(UnsupportedError, match=r"layer layer: W4 sym g128 .*Marlin .*off by .*TGI_AUTOROUND_MARLIN=0"):
        MarlinKernel().prepare(random_layer(4, True, 256, 64, 128), CPU, torch.float16)


def test_scales_in_another_order_are_found_out_too(
    quantization: marlin_double.Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_module(monkeypatch, "text_generation_server.layers.marlin.util", permute_scales=lambda scales: scales)
    with pytest.raises(UnsupportedError, match=r"TGI_AUTOROUND_MARLIN=0"):
        MarlinKernel().prepare(random_layer(8, True, 256, 128, 64), CPU, torch.bfloat16)


def test_an_error_that_begins_in_the_last_columns_or_with_many_rows_is_found(
    quantization: marlin_double.Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = quantization.gptq_marlin_gemm

    def wrong_beyond_64_rows(a: torch.Tensor, *rest: object) -> torch.Tensor:
        y = right(a, *rest)
        y[64:, -8:] = float("nan")
        return y

    monkeypatch.setattr(quantization, "gptq_marlin_gemm", wrong_beyond_64_rows)
    with pytest.raises(UnsupportedError, match=r"off by nan on 128 rows"):
        MarlinKernel().prepare(random_layer(4, True, 256, 64, 128), CPU, torch.float16)


def test_a_kernel_that_refuses_its_arguments_names_the_switch(
    quantization: marlin_double.Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("invalid thread configuration")

    monkeypatch.setattr(quantization, "gptq_marlin_gemm", refuse)
    with pytest.raises(UnsupportedError, match=r"failed on 1 rows: invalid thread.*TGI_AUTOROUND_MARLIN=0"):
        MarlinKernel().prepare(random_layer(4, True, 256, 64, 128), CPU, torch.float16)


@pytest.mark.parametrize(
    ("spec", "dtype", "reason"),
    [
        (spec_of(bits=3), torch.float16, "4 and 8 bits, symmetric"),
        (spec_of(sym=False), torch.float16, "4 and 8 bits, symmetric"),
        (spec_of(group_size=16), torch.float16, "groups of 32, 64 or 128"),
        (spec_of(in_features=4160), torch.float16, "groups of 32, 64 or 128"),
        (spec_of(out_features=4100), torch.float16, "multiples of 128 and 64"),
        (spec_of(in_features=4032, group_size=64, out_features=4160), torch.float16, "multiples of 128 and 64"),
        (spec_of(), torch.float32, "not float32"),
    ],
    ids=str,
)
def test_other_layers_are_left_to_the_next_kernel(
    spec: LayerSpec, dtype: torch.dtype, reason: str, quantization: marlin_double.Quantization
) -> None:
    assert reason in str(MarlinKernel().supports(spec, CUDA, dtype))


def test_inside_tgi_marlin_comes_first_then_the_projects_own_and_the_switch_turns_marlin_off(
    quantization: marlin_double.Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(spec: LayerSpec) -> str:
        return select(spec, CUDA, torch.bfloat16, kernels=KERNELS).name

    assert chosen(spec_of()) == "tgi-marlin"
    assert chosen(spec_of(bits=2)) == "cuda-triton"
    monkeypatch.setenv("TGI_AUTOROUND_MARLIN", "0")
    assert chosen(spec_of()) == "cuda-triton"
    assert MarlinKernel().supports(spec_of(), CUDA, torch.bfloat16) == "TGI_AUTOROUND_MARLIN=0 turns it off"


def test_a_tgi_without_marlin_and_older_gpus_and_the_cpu_say_so(
    quantization: marlin_double.Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MarlinKernel().supports(spec_of(), CPU, torch.float16) == "it runs on NVIDIA GPUs, not on cpu"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "8.0 or later" in str(MarlinKernel().supports(spec_of(), CUDA, torch.float16))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.delitem(sys.modules, "text_generation_server.utils.kernels")
    forget(monkeypatch)
    assert "does not hold it" in str(MarlinKernel().supports(spec_of(), CUDA, torch.float16))
