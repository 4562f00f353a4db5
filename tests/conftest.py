"""Fixtures that more than one part's tests use."""

import functools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.autoround import quantize_rtn
from tests.models import make_llama

Quantized = Callable[..., Path]

# A shell without job control starts background jobs deaf to SIGINT, and so would be the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float16 Llama of two layers (read it, never write into it)."""
    return make_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def quantized(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """`quantized(bits=4, sym=True, group_size=128)`: the tiny Llama as auto-round quantizes it, made once a session."""

    @functools.cache
    def make(*, bits: int = 4, sym: bool = True, group_size: int = 128) -> Path:
        return quantize_rtn(tiny_llama, tmp_path_factory.mktemp("quantized"), bits=bits, sym=sym, group_size=group_size)

    return make
