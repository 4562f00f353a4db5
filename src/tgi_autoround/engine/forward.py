"""Which code runs a model's steps: our own for common decoders, transformers' for all others."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch

from tgi_autoround.composite import FusedLinear
from tgi_autoround.engine import decoder, families
from tgi_autoround.engine.config import EngineConfig
from tgi_autoround.engine.cuda import machine
from tgi_autoround.engine.decoder import DecoderWeights
from tgi_autoround.engine.decoder.cpu import CpuDecoder
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.lora import Adapters
from tgi_autoround.engine.runner import ModelRunner
from tgi_autoround.errors import ConfigError

logger = logging.getLogger(__name__)


def fusions(config: EngineConfig, device: torch.device, dtype: torch.dtype) -> Callable[[Any], Iterable[FusedLinear]]:
    """Return what tells `build_model` which linears to load as one: none where transformers' code will run them."""
    if _no_own_code(config, device, dtype) is not None:
        return lambda _model: ()
    return decoder.fusions


def take_apart(config: EngineConfig, model: Any, dtype: torch.dtype) -> DecoderWeights | None:
    """Return the weights for code of our own, or None where transformers' code runs the model."""
    weights = _no_own_code(config, model.device, dtype) or decoder.read(model)
    if isinstance(weights, DecoderWeights):
        return weights
    logger.info("transformers' own code runs the model, which is slower: %s", weights)
    return None


def cache_dtype(config: EngineConfig, weights: DecoderWeights | None, dtype: torch.dtype) -> torch.dtype:
    """Return the type of keys and values, which is the model's unless another is asked for.

    bfloat16 is never the default beside float32: batches differ in the last bits of what attention adds up, and what
    rounding makes of them decides a request's tokens. Raises ConfigError where the type asked for cannot be had.
    """
    computed = str(dtype).removeprefix("torch.")
    asked = config.kv_cache_dtype or computed
    if asked == computed:
        return dtype
    if asked == "bfloat16" and weights is not None and weights.embedding.device.type == "cpu":
        return torch.bfloat16
    raise ConfigError(
        f"kv_cache_dtype is {asked}, but this model computes in {computed} and stores keys and values as such; leave "
        "the option out (bfloat16 is for common decoders that a CPU computes in float32)"
    )


def make_runner(
    config: EngineConfig, model: Any, weights: DecoderWeights | None, cache: KVCache, adapters: Adapters
) -> ModelRunner:
    """Return what runs the steps. Raises UnsupportedError where neither code can."""
    max_tokens = cache.keys[0].shape[2]
    if weights is None:
        families.install(model, max_tokens)
        return ModelRunner(model, cache, adapters)
    if model.device.type == "cpu":
        return ModelRunner(CpuDecoder(weights, max_tokens), cache, adapters)
    from tgi_autoround.engine.cuda.runner import CudaRunner  # its kernels need triton

    return CudaRunner(weights, cache, config.cuda_graphs)


def _no_own_code(config: EngineConfig, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why transformers' code is to run whatever model it is."""
    if config.lora_adapters:
        return "LoRA adapters change single linears of it"
    if device.type == "cpu" and dtype != torch.float32:
        return f"on a CPU ours computes in float32, and {dtype} was asked for"
    if device.type == "cuda":
        return machine.why_not(device, dtype)
    return None
