import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from torch import nn

from habana_frameworks.torch.hpu import random

__all__ = ["get_device_name", "memory_stats", "random", "sdp_kernel", "wrap_in_hpu_graph"]


def get_device_name() -> str:
    return "GAUDI2"


def memory_stats() -> dict[str, int]:
    return {"InUse": 0, "MaxInUse": 0, "Limit": 0}


@contextlib.contextmanager
def sdp_kernel(*, enable_recompute: bool) -> Iterator[None]:
    """Choose how attention's kernel trades memory for time; a CPU has one way."""
    yield


def wrap_in_hpu_graph(model: nn.Module, *, disable_tensor_cache: bool) -> nn.Module:
    """Take the argument that a captured model takes; nothing is captured."""
    forward = model.forward

    @functools.wraps(forward)
    def run(*args: Any, bypass_hpu_graphs: bool = False, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    model.forward = run
    model.clear_cache = lambda: None
    return model
