"""The settings that the stock launcher derives from config.json, as it would had it been able to read it.

launcher/src/main.rs, v3.3.7; what the user has set wins, as there.
"""

from collections.abc import Mapping

from tgi_autoround.tgi.launcher import gpus
from tgi_autoround.tgi.launcher.command_line import CommandLine
from tgi_autoround.tgi.launcher.launcher_config import LauncherConfig

FLASHINFER_HEAD_DIMS = (64, 128, 256)
NEVER_FLASHINFER = ("falcon", "deepseek_v2")
DEFAULT_PREFILL_TOKENS = 4096
PREFILL_TOKENS_OF_TYPE = {"qwen2_vl": 10_000, "qwen2_5_vl": 10_000, "gemma3": 8000}
LEAST_CREDIBLE_OPTIMUM_TOKENS = 100


def derived_settings(config: LauncherConfig, line: CommandLine) -> dict[str, str]:
    """Return ATTENTION, PREFIX_CACHING and MAX_BATCH_PREFILL_TOKENS, each unless the user has set it."""
    derived = _attention(config, line)
    if line.value("--max-batch-prefill-tokens") is None:
        derived["MAX_BATCH_PREFILL_TOKENS"] = str(_prefill_tokens(config, line))
    return {name: value for name, value in derived.items() if name not in line.environment}


def _attention(config: LauncherConfig, line: CommandLine) -> dict[str, str]:
    """Return ATTENTION and PREFIX_CACHING, the user's included, as `resolve_attention` does (131-200)."""
    settings = {name: line.environment[name] for name in ("ATTENTION", "PREFIX_CACHING") if name in line.environment}
    supported = config.head_dim in FLASHINFER_HEAD_DIMS
    if config.has_vision or config.is_encoder_decoder or not supported or line.value("--lora-adapters") is not None:
        settings.setdefault("PREFIX_CACHING", "0")
    if not supported or config.model_type in NEVER_FLASHINFER:
        other = _instead_of_flashinfer(line.environment)
        settings.setdefault("ATTENTION", other)
        if other == "paged":
            settings.setdefault("PREFIX_CACHING", "0")
    if settings.setdefault("ATTENTION", "flashinfer") == "paged":
        settings.setdefault("PREFIX_CACHING", "0")
    settings.setdefault("PREFIX_CACHING", "true")
    return settings


def _instead_of_flashinfer(environment: Mapping[str, str]) -> str:
    capability = gpus.compute_capability(environment)
    return "paged" if capability is None or capability[0] < 8 else "flashdecoding"


def _prefill_tokens(config: LauncherConfig, line: CommandLine) -> int:
    """main.rs 2114-2154, less its bound by memory, which quantized models do not get (311-314, 346-349)."""
    tokens = _optimal_prefill_tokens(config, line) or PREFILL_TOKENS_OF_TYPE.get(
        config.model_type or "", DEFAULT_PREFILL_TOKENS
    )
    return tokens if config.max_positions is None else min(tokens, config.max_positions)


def _optimal_prefill_tokens(config: LauncherConfig, line: CommandLine) -> int | None:
    """main.rs 28-46."""
    shards, flop = gpus.number_of_shards(line), config.flop_per_token()
    flops = gpus.flops(shards, line.environment) if shards else None
    if not flop or flops is None:
        return None
    return flops // flop if flops // flop > LEAST_CREDIBLE_OPTIMUM_TOKENS else None
