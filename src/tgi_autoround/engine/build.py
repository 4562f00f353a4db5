"""A model directory -> an engine that is ready to start."""

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from tgi_autoround.checkpoint import Checkpoint, open_checkpoint
from tgi_autoround.checkpoint.json_files import read_object, show
from tgi_autoround.engine import forward, lora
from tgi_autoround.engine.config import EngineConfig, position_count, resolve_limits
from tgi_autoround.engine.engine import Engine
from tgi_autoround.engine.head import round_head
from tgi_autoround.engine.kv_cache import KVCache, bytes_per_token
from tgi_autoround.engine.memory import available_bytes
from tgi_autoround.engine.scheduler import Scheduler
from tgi_autoround.errors import CheckpointError, ConfigError
from tgi_autoround.modeling import build_model

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def build_engine(config: EngineConfig) -> tuple[Engine, PreTrainedTokenizerBase, PreTrainedConfig]:
    """Return the engine (not started), the model's tokenizer and its config.

    Raises ConfigError, CheckpointError or UnsupportedError with a sentence for the user.
    """
    checkpoint = open_checkpoint(config.model_dir)
    _check_quantize(config, checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype(config, device)
    if config.threads:
        torch.set_num_threads(config.threads)
    model = build_model(
        checkpoint,
        device=device,
        dtype=dtype,
        exact=config.cpu_compute == "fp32",
        trust_remote_code=config.trust_remote_code,
        fuse=forward.fusions(config, device, dtype),
    )
    round_head(model, config.lm_head_bits, dtype=dtype, exact=config.cpu_compute == "fp32")
    adapters = lora.install(model, config.lora_adapters)
    weights = forward.take_apart(config, model, dtype)
    cache_dtype = forward.cache_dtype(config, weights, dtype)
    per_token = bytes_per_token(model.config, cache_dtype)
    limits = resolve_limits(
        config,
        position_count(model.config),
        per_token,
        available_bytes(device, config.cuda_memory_fraction),
        reserves_slots=device.type != "cpu",
    )
    cache = KVCache(model.config, limits.max_batch_size, limits.max_total_tokens, cache_dtype, device)
    tokenizer = _load_tokenizer(config)
    logger.info("%s on %s in %s; %d bytes of cache a token in %s", limits, device, dtype, per_token, cache_dtype)
    engine = Engine(
        forward.make_runner(config, model, weights, cache, adapters),
        Scheduler(limits, cache),
        tokenizer,
        limits,
        _eos_token_ids(checkpoint, tokenizer),
        model.get_input_embeddings().weight.shape[0],
        adapters.ids,
    )
    return engine, tokenizer, model.config


def _check_quantize(config: EngineConfig, checkpoint: Checkpoint) -> None:
    if config.quantize is not None and checkpoint.quant_config is None:
        raise ConfigError(
            f"--quantize {config.quantize}: {checkpoint.model_dir} is not quantized; "
            f"make it so with `tgi-autoround quantize {checkpoint.model_dir} OUT` and serve OUT"
        )


def _dtype(config: EngineConfig, device: torch.device) -> torch.dtype:
    """float32 is the fastest type on CPUs without bf16 or fp16 arithmetic, and the kernels' own."""
    if config.dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if config.dtype not in DTYPES:
        raise ConfigError(f"dtype is {config.dtype!r}; choose one of {', '.join(DTYPES)}")
    return DTYPES[config.dtype]


def _load_tokenizer(config: EngineConfig) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(config.model_dir, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{config.model_dir}: the tokenizer cannot be loaded: {error}") from error


def _eos_token_ids(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ends of text named by config.json, generation_config.json and the tokenizer."""
    ids = {tokenizer.eos_token_id} - {None}
    sources = {"config.json": checkpoint.config, "generation_config.json": _generation_config(checkpoint.model_dir)}
    for name, source in sources.items():
        named = source.get("eos_token_id")
        listed = [token_id for token_id in (named if isinstance(named, list) else [named]) if token_id is not None]
        if not all(isinstance(token_id, int) for token_id in listed):
            raise CheckpointError(
                f"{checkpoint.model_dir / name}: eos_token_id is {show(named)}; it must be a token's number or a list "
                "of such"
            )
        ids.update(listed)
    return frozenset(ids)


def _generation_config(model_dir: Path) -> dict[str, Any]:
    path = model_dir / "generation_config.json"
    if not path.exists():
        return {}
    return read_object(path)
