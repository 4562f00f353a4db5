"""Which machines run the engine's own CUDA code; the others run transformers'."""

import pytest
import torch

from tgi_autoround.engine.cuda import machine
from tgi_autoround.engine.cuda.graphs import batch_sizes

GPU = torch.device("cuda", 0)


@pytest.fixture
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    monkeypatch.setenv("CC", "cc")


@pytest.mark.usefixtures("_gpu")
def test_a_gpu_with_triton_and_a_compiler_runs_it_in_16_bits() -> None:
    assert machine.why_not(GPU, torch.bfloat16) is None
    assert machine.why_not(GPU, torch.float16) is None
    assert "torch.float32 was asked for" in str(machine.why_not(GPU, torch.float32))


@pytest.mark.usefixtures("_gpu")
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert "C compiler" in str(machine.why_not(GPU, torch.bfloat16))
    monkeypatch.setattr(machine, "find_spec", lambda _name: None)
    assert "need triton" in str(machine.why_not(GPU, torch.bfloat16))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert "8.0 or later" in str(machine.why_not(GPU, torch.bfloat16))


def test_graphs_cover_every_batch_unless_others_are_chosen() -> None:
    assert batch_sizes(None, 1) == (1,)
    assert batch_sizes(None, 36) == (1, 2, 4, 8, 16, 32, 36)
    assert batch_sizes((8, 2, 64), 36) == (2, 8, 36)
    assert batch_sizes((), 36) == ()
