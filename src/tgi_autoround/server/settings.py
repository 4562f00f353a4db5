"""Every option of `serve`: TGI's launcher options under TGI's names, each also an environment variable, and ours.

One field is one option: its name gives the flag (`--max-input-tokens`) and the variable (`MAX_INPUT_TOKENS`).
An option that cannot mean anything on this engine is accepted at its neutral values only, and refused in a
sentence otherwise: nothing a user asks for is dropped in silence.
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from tgi_autoround.errors import ConfigError

OWN_VARIABLES_PREFIX = "TGI_AUTOROUND_"
SAGEMAKER_VARIABLES = {
    "model_id": "HF_MODEL_ID",
    "revision": "HF_MODEL_REVISION",
    "quantize": "HF_MODEL_QUANTIZE",
    "trust_remote_code": "HF_MODEL_TRUST_REMOTE_CODE",
    "num_shard": "SM_NUM_GPUS",
}
"""Names that TGI's sagemaker-entrypoint.sh (3.3.7) translates; the options' own names go before them."""
QUANTIZE_METHODS = {"auto-round": "auto-round", "autoround": "auto-round", "none": None}
BYTE_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def option(
    default: Any, text: str, *, own: bool = False, variable: str | None = None, minimum: int | None = None
) -> Any:
    """Declare an option that works; `own` marks those TGI's launcher does not have, `variable` one that TGI reads."""
    metadata = {"help": text, "own": own, "variable": variable, "minimum": minimum}
    return dataclasses.field(default=default, metadata=metadata)


def neutral(default: Any, because: str, *others: Any) -> Any:
    """Declare an option of TGI's that is accepted only as `default` or one of `others`."""
    metadata = {"help": f"Accepted for TGI's sake: {because}.", "neutral": (default, *others), "because": because}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ServeConfig:
    """What `tgi-autoround serve` was asked to do. Lengths are in tokens, times in seconds, sizes in bytes."""

    model_id: str | None = option(None, "Directory of a checkpoint, or the id of one on the Hugging Face hub.")
    revision: str | None = option(None, "Branch, tag or commit of the model on the hub.")
    quantize: str | None = option(None, "auto-round (or autoround), or none; the default asks the checkpoint.")
    dtype: str | None = option(None, "float16, bfloat16 or float32; the default suits the device.")
    kv_cache_dtype: str | None = option(
        None,
        "float32 or bfloat16, which a CPU can take beside --dtype float32: half the memory, and faster on long prompts "
        "where it has AMX, but then tokens depend on the batch. Default: as --dtype.",
    )
    trust_remote_code: bool = option(False, "Allow code from the model's repository to run.")
    hostname: str = option("0.0.0.0", "Address to listen on.")
    port: int = option(3000, "Port to listen on.", minimum=0)
    max_concurrent_requests: int = option(128, "Requests in progress before others get 429.", minimum=1)
    max_best_of: int = option(2, "Largest `best_of`.", minimum=1)
    max_stop_sequences: int = option(4, "Most stop sequences of a request.", minimum=0)
    max_top_n_tokens: int = option(5, "Largest `top_n_tokens`.", minimum=0)
    max_input_tokens: int | None = option(None, "Longest prompt of a request.")
    max_input_length: int | None = option(None, "TGI's older name of --max-input-tokens.")
    max_total_tokens: int | None = option(None, "Longest prompt plus output of a request.")
    max_batch_prefill_tokens: int | None = option(None, "Prompt tokens of one prefill step.")
    max_batch_total_tokens: int | None = option(None, "Tokens of all requests in the batch together.")
    max_batch_size: int | None = option(None, "Requests in the batch.")
    waiting_served_ratio: float | None = option(
        None, "Prompts that wait for each running stream from which on they go before it. Default: 1.2."
    )
    max_waiting_tokens: int | None = option(
        None, "Tokens that streams may get at their pace while a prompt waits. Default: any number."
    )
    max_client_batch_size: int = option(4, "Most prompts of one /v1/completions request.", minimum=1)
    validation_workers: int = option(2, "Threads that tokenize prompts.", minimum=1)
    payload_limit: int = option(2_000_000, "Largest request body in bytes.", minimum=1)
    api_key: str | None = option(None, "Require `Authorization: Bearer KEY` where TGI does.")
    cors_allow_origin: tuple[str, ...] = option((), "Origin a browser may call from; may be repeated. Default: any.")
    tokenizer_config_path: str | None = option(None, "A tokenizer_config.json whose chat template is used.")
    disable_grammar_support: bool = option(False, "Refuse grammars.")
    enable_prefill_logprobs: bool = option(False, "Compute logprobs of the prompt where details ask for them.")
    watermark_gamma: float | None = option(None, "Share of the vocabulary that a watermark favours. Default: 0.5.")
    watermark_delta: float | None = option(None, "Logits that a watermark adds to it. Default: 2.0.")
    lora_adapters: str | None = option(
        None, "LoRA adapters as id, id@revision (of the hub) or id=directory, separated by commas."
    )
    cuda_graphs: str | None = option(
        None, "Batch sizes whose decode step is captured on a GPU, separated by commas; 0 captures none."
    )
    cuda_memory_fraction: float = option(1.0, "Share of a GPU's memory that may be used.")
    huggingface_hub_cache: str | None = option(None, "Where downloads from the hub are kept.")
    json_output: bool = option(False, "Log one JSON object a line.")
    otlp_endpoint: str | None = option(None, "OpenTelemetry collector (gRPC) that gets a trace of every request.")
    otlp_service_name: str = option("text-generation-inference.router", "Name of this service in its traces.")
    env: bool = option(False, "Log the versions of what runs here.")
    graceful_termination_timeout: int = option(90, "Seconds that running requests get after SIGTERM.", minimum=0)
    cpu_compute: str = option("int8", "Activations of the CPU kernels: int8 (fast) or fp32 (exact).", own=True)
    kv_cache_memory: str | None = option(None, "Memory of the KV cache, such as 2GiB.", own=True)
    threads: int | None = option(None, "CPU threads of the engine.", own=True, minimum=1)
    lm_head_bits: int | None = option(
        None,
        "Bits that a floating-point output projection is rounded to: 4, 8, or 16 to keep it as stored. "
        "Default: 8 on CPUs whose kernels run --cpu-compute int8, else 16.",
        own=True,
    )
    prefix_caching: bool = option(
        True, "Reuse what was computed for prompts that begin alike.", own=True, variable="PREFIX_CACHING"
    )

    sharded: str | None = neutral(None, "one process serves the model", "false")
    num_shard: int | None = neutral(None, "one process serves the model", 1)
    speculate: int | None = neutral(None, "speculation is not implemented", 0)
    weights_cache_override: str | None = neutral(None, "--huggingface-hub-cache says where weights are kept")
    disable_custom_kernels: bool = neutral(False, "quantized layers need their kernels")
    rope_scaling: str | None = neutral(None, "the checkpoint's own rope settings are used")
    rope_factor: float | None = neutral(None, "the checkpoint's own rope settings are used")
    ngrok: bool = neutral(False, "no tunnel is opened")
    ngrok_authtoken: str | None = neutral(None, "no tunnel is opened")
    ngrok_edge: str | None = neutral(None, "no tunnel is opened")

    prometheus_port: str = option("9000", "Any value: metrics are at /metrics of --port, as in TGI 3.3.")
    shard_uds_path: str = option("/tmp/text-generation-server", "Any value: there are no shards to talk to.")
    master_addr: str = option("localhost", "Any value: there are no shards to talk to.")
    master_port: str = option("29500", "Any value: there are no shards to talk to.")
    usage_stats: str = option("on", "Any value: nothing is ever sent.")


def checked(config: ServeConfig) -> ServeConfig:
    """Return `config` with spellings unified, or raise ConfigError saying which option is wrong and why."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value not in field.metadata.get("neutral", (value,)):
            raise ConfigError(f"{flag(field.name)} {value} has no meaning here: {field.metadata['because']}")
        _check_number(field, value)
    _check_choice("quantize", config.quantize, QUANTIZE_METHODS)
    _check_choice("dtype", config.dtype, ("float16", "bfloat16", "float32"))
    _check_choice("kv_cache_dtype", config.kv_cache_dtype, ("float32", "bfloat16"))
    _check_choice("cpu_compute", config.cpu_compute, ("int8", "fp32"))
    _check_choice("lm_head_bits", config.lm_head_bits, (4, 8, 16))
    _check_shares(config)
    lora_adapters_of(config.lora_adapters)
    cuda_graphs_of(config.cuda_graphs)
    _check_token_limits(config)
    if not config.model_id:
        raise ConfigError("no model: give --model-id (or MODEL_ID) a directory or a hub id")
    return dataclasses.replace(
        config,
        quantize=QUANTIZE_METHODS[config.quantize] if config.quantize else None,
        max_input_tokens=config.max_input_tokens or config.max_input_length,
        cors_allow_origin=tuple(config.cors_allow_origin),
    )


def flag(field_name: str) -> str:
    """The command line's spelling of an option."""
    return "--" + field_name.replace("_", "-")


def bytes_of(size: str) -> int:
    """Read a size such as 512MiB, 2G or 1000000 as bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?)B?", size.strip().upper())
    if not match or match[2] not in BYTE_UNITS:
        raise ConfigError(f"--kv-cache-memory {size} is not a size; write it as 512MiB or 2GiB")
    return int(float(match[1]) * BYTE_UNITS[match[2]])


def cuda_graphs_of(sizes: str | None) -> tuple[int, ...] | None:
    """Read batch sizes such as 1,2,4; 0 is none."""
    if sizes is None:
        return None
    try:
        numbers = sorted({int(size) for size in sizes.split(",")})
    except ValueError:
        numbers = [-1]
    if numbers[0] < 0:
        raise ConfigError(f"--cuda-graphs {sizes} is no list of batch sizes; write it as 1,2,4, or 0 for none")
    return tuple(number for number in numbers if number)


@dataclass(frozen=True)
class AdapterSource:
    """An adapter of `--lora-adapters`: a directory, or `revision` of the hub's repository `id`."""

    id: str
    path: str | None
    revision: str | None


def lora_adapters_of(adapters: str | None) -> tuple[AdapterSource, ...]:
    """Read adapters in TGI's syntax (utils/adapter.py, parse_lora_adapters, 3.3.7)."""
    sources = []
    for adapter in (adapters or "").split(",") if adapters else ():
        match = re.fullmatch(r"([^=@]+)(?:=([^=@]+))?(?:@([^=@]+))?", adapter.strip())
        if match is None:
            raise ConfigError(f"--lora-adapters {adapter.strip()!r} is no adapter; write it as id or id=directory")
        sources.append(AdapterSource(*match.groups()))
    ids = [source.id for source in sources]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise ConfigError(f"--lora-adapters names {', '.join(sorted(twice))} more than once; give each its own id")
    return tuple(sources)


def _check_number(field: "dataclasses.Field[Any]", value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{flag(field.name)} {value} is no number; give a finite one")
    minimum = field.metadata.get("minimum")
    if minimum is not None and value is not None and value < minimum:
        raise ConfigError(f"{flag(field.name)} {value} must be at least {minimum}")


def _check_choice(name: str, value: Any, choices: Any) -> None:
    if value is not None and value not in choices:
        raise ConfigError(f"{flag(name)} {value} is not served here; choose one of {', '.join(map(str, choices))}")


def _check_shares(config: ServeConfig) -> None:
    if not 0 < config.cuda_memory_fraction <= 1:
        raise ConfigError(f"--cuda-memory-fraction {config.cuda_memory_fraction} must be above 0 and at most 1")
    if config.watermark_gamma is not None and not 0 < config.watermark_gamma < 1:
        raise ConfigError(f"--watermark-gamma {config.watermark_gamma} must be above 0 and below 1")


def _check_token_limits(config: ServeConfig) -> None:
    if config.max_input_tokens and config.max_input_length:
        raise ConfigError("--max-input-tokens and --max-input-length are one option; give only the first")
    max_input_tokens = config.max_input_tokens or config.max_input_length
    if max_input_tokens and config.max_total_tokens and max_input_tokens >= config.max_total_tokens:
        raise ConfigError(
            f"`max_input_tokens`({max_input_tokens}) must be < `max_total_tokens`({config.max_total_tokens})"
        )
