"""AutoRound checkpoints: config.json -> specs -> tensors -> normal form.

The names below are looked up when they are first used, because they load torch: TGI's launcher, which only reads JSON
files here, would wait seconds for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgi_autoround.checkpoint.normal_form import NormalForm
    from tgi_autoround.checkpoint.reader import Checkpoint, open_checkpoint
    from tgi_autoround.checkpoint.spec import LayerSpec, Packing, QuantScheme

__all__ = ["Checkpoint", "LayerSpec", "NormalForm", "Packing", "QuantScheme", "open_checkpoint"]

_HOMES = {
    "Checkpoint": "reader",
    "LayerSpec": "spec",
    "NormalForm": "normal_form",
    "Packing": "spec",
    "QuantScheme": "spec",
    "open_checkpoint": "reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
