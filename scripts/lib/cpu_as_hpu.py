"""The CPU under the name of a Gaudi, for machines without one: code that asks for `hpu` runs, unchanged."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

HPU, CPU = torch.device("hpu"), torch.device("cpu")
ASKS_FOR_DEVICE = torch.Tensor.device.__get__


class CpuAsHpu(TorchFunctionMode):
    """While it is entered, the device hpu means the CPU in every call of torch, and the CPU's tensors say hpu."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.device:
            return function(*args, **(kwargs or {}))
        if function == ASKS_FOR_DEVICE:
            device = function(*args)
            return HPU if device == CPU else device
        args, kwargs = tree_map(_on_cpu, (args, kwargs or {}))
        return function(*args, **kwargs)


def _on_cpu(value: Any) -> Any:
    is_hpu = value == HPU.type if isinstance(value, str) else isinstance(value, torch.device) and value == HPU
    return CPU if is_hpu else value
