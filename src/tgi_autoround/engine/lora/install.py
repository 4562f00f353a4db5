"""Adapters' products -> around the linears of a model."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tgi_autoround.engine.config import LoraAdapter
from tgi_autoround.engine.lora.files import LowRank, read_adapter
from tgi_autoround.engine.lora.linear import AdaptedLinear, Adapters
from tgi_autoround.errors import CheckpointError, ConfigError, UnsupportedError
from tgi_autoround.linear import QLinear

SEES_SOME_ROWS = re.compile(r"^lm_head$|experts\.\d+\.")
"""The head is computed for rows that choose a token, an expert for those that are routed to it."""


def install(model: Any, adapters: tuple[LoraAdapter, ...]) -> Adapters:
    """Wrap every linear of a transformers model that an adapter changes; return what says which rows are whose.

    Raises ConfigError where two adapters have one id, CheckpointError or UnsupportedError where one does not fit.
    """
    ids = frozenset(adapter.id for adapter in adapters)
    if len(ids) < len(adapters):
        raise ConfigError("lora_adapters: two adapters have the same id; give each its own")
    products: dict[str, dict[str, LowRank]] = {}
    for adapter in adapters:
        for path, product in read_adapter(adapter).items():
            _check_fits(model, adapter, path, product)
            products.setdefault(path, {})[adapter.id] = product
    active = Adapters(ids, model.device)
    for path, of_adapters in products.items():
        _wrap(model, path, of_adapters, active)
    return active


def _check_fits(model: nn.Module, adapter: LoraAdapter, path: str, product: LowRank) -> None:
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise CheckpointError(
            f"LoRA adapter {adapter.id!r}: {type(model).__name__} has no layer {path}; the adapter is for another model"
        ) from error
    if SEES_SOME_ROWS.search(path) or not isinstance(module, (QLinear, nn.Linear, Conv1D)):
        raise UnsupportedError(
            f"LoRA adapter {adapter.id!r}: it changes {path}, a {type(module).__name__}; "
            "only linears that see all tokens, of attention and dense MLPs, take adapters"
        )
    wanted = _features(module)
    features = (product.down.shape[1], product.up.shape[0])
    if features != wanted:
        raise CheckpointError(
            f"LoRA adapter {adapter.id!r}: {path} is made for {features[0]} -> {features[1]} features, "
            f"but the model's layer has {wanted[0]} -> {wanted[1]}"
        )


def _features(module: QLinear | nn.Linear | Conv1D) -> tuple[int, ...]:
    return tuple(module.weight.shape) if isinstance(module, Conv1D) else (module.in_features, module.out_features)


def _wrap(model: Any, path: str, products: Mapping[str, LowRank], active: Adapters) -> None:
    """In the type and on the device that the model computes with."""

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(model.device, model.dtype)

    on_device = {adapter: LowRank(placed(product.down), placed(product.up)) for adapter, product in products.items()}
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, AdaptedLinear(model.get_submodule(path), on_device, active))
