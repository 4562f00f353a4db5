"""The options of `serve` are TGI's launcher options, by flag and by variable."""

import dataclasses
import math

import pytest
import typer
from typer.testing import CliRunner

from tgi_autoround.errors import ConfigError
from tgi_autoround.server.command import serve
from tgi_autoround.server.settings import (
    AdapterSource,
    ServeConfig,
    bytes_of,
    checked,
    cuda_graphs_of,
    flag,
    lora_adapters_of,
)

LAUNCHER_OPTIONS = [
    "model-id",
    "revision",
    "validation-workers",
    "sharded",
    "num-shard",
    "quantize",
    "speculate",
    "dtype",
    "kv-cache-dtype",
    "trust-remote-code",
    "max-concurrent-requests",
    "max-best-of",
    "max-stop-sequences",
    "max-top-n-tokens",
    "max-input-tokens",
    "max-input-length",
    "max-total-tokens",
    "waiting-served-ratio",
    "max-batch-prefill-tokens",
    "max-batch-total-tokens",
    "max-waiting-tokens",
    "max-batch-size",
    "cuda-graphs",
    "hostname",
    "port",
    "prometheus-port",
    "shard-uds-path",
    "master-addr",
    "master-port",
    "huggingface-hub-cache",
    "weights-cache-override",
    "disable-custom-kernels",
    "cuda-memory-fraction",
    "rope-scaling",
    "rope-factor",
    "json-output",
    "otlp-endpoint",
    "otlp-service-name",
    "cors-allow-origin",
    "api-key",
    "watermark-gamma",
    "watermark-delta",
    "ngrok",
    "ngrok-authtoken",
    "ngrok-edge",
    "tokenizer-config-path",
    "disable-grammar-support",
    "env",
    "max-client-batch-size",
    "lora-adapters",
    "usage-stats",
    "payload-limit",
    "enable-prefill-logprobs",
    "graceful-termination-timeout",
]
OWN_OPTIONS = ["cpu-compute", "kv-cache-memory", "lm-head-bits", "prefix-caching", "threads"]


def test_every_option_of_tgis_launcher_is_known() -> None:
    names = {field.name.replace("_", "-") for field in dataclasses.fields(ServeConfig)}
    assert names == {*LAUNCHER_OPTIONS, *OWN_OPTIONS}


def test_defaults_are_the_launchers() -> None:
    config = ServeConfig()
    assert (config.port, config.hostname, config.payload_limit) == (3000, "0.0.0.0", 2_000_000)
    assert (config.max_concurrent_requests, config.max_best_of, config.max_stop_sequences) == (128, 2, 4)
    assert (config.max_top_n_tokens, config.max_client_batch_size, config.graceful_termination_timeout) == (5, 4, 90)


@pytest.mark.parametrize(
    ("given", "understood"),
    [("auto-round", "auto-round"), ("autoround", "auto-round"), ("none", None), (None, None)],
)
def test_quantize_has_two_spellings_and_none(given: str | None, understood: str | None) -> None:
    assert checked(ServeConfig(model_id="m", quantize=given)).quantize == understood


@pytest.mark.parametrize(
    "options",
    [{"num_shard": 1}, {"sharded": "false"}, {"cuda_graphs": "0"}, {"speculate": 0}, {"usage_stats": "off"}],
)
def test_neutral_values_are_accepted(options: dict[str, object]) -> None:
    checked(ServeConfig(model_id="m", **options))


@pytest.mark.parametrize(
    "options",
    [
        {"num_shard": 2},
        {"sharded": "true"},
        {"cuda_graphs": "one"},
        {"cuda_graphs": "-1,2"},
        {"speculate": 2},
        {"ngrok": True},
        {"rope_factor": 2.0},
        {"cuda_memory_fraction": 1.5},
        {"watermark_gamma": 1.0},
        {"lm_head_bits": 3},
        {"lora_adapters": "a=b=c"},
        {"lora_adapters": "a,"},
        {"lora_adapters": "a,a=/b"},
        {"dtype": "int4"},
        {"kv_cache_dtype": "fp8_e5m2"},
        {"kv_cache_dtype": "fp8_e4m3fn"},
        {"cpu_compute": "int4"},
        {"max_input_tokens": 4, "max_input_length": 4},
        {"max_input_tokens": 4, "max_total_tokens": 4},
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        checked(ServeConfig(model_id="m", **options))


LEAST = {
    "port": 0,
    "max_concurrent_requests": 1,
    "max_best_of": 1,
    "max_stop_sequences": 0,
    "max_top_n_tokens": 0,
    "max_client_batch_size": 1,
    "validation_workers": 1,
    "payload_limit": 1,
    "graceful_termination_timeout": 0,
    "threads": 1,
}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_a_number_below_an_options_least_is_refused_by_name(name: str, least: int) -> None:
    checked(ServeConfig(model_id="m", **{name: least}))
    with pytest.raises(ConfigError, match=f"^{flag(name)} {least - 1} must be at least {least}$"):
        checked(ServeConfig(model_id="m", **{name: least - 1}))


@pytest.mark.parametrize("name", ["watermark_delta", "waiting_served_ratio", "watermark_gamma", "cuda_memory_fraction"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_share_or_strength_that_is_no_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{flag(name)} "):
        checked(ServeConfig(model_id="m", **{name: value}))


def test_lora_adapters_are_ids_with_or_without_directory_or_revision() -> None:
    assert lora_adapters_of("org/one, two=/some/where,three@main") == (
        AdapterSource("org/one", None, None),
        AdapterSource("two", "/some/where", None),
        AdapterSource("three", None, "main"),
    )
    assert lora_adapters_of(None) == lora_adapters_of("") == ()


@pytest.mark.parametrize(
    ("text", "sizes"), [(None, None), ("0", ()), ("1", (1,)), ("8, 1,2,4", (1, 2, 4, 8)), ("0,2", (2,))]
)
def test_cuda_graphs_are_a_list_of_batch_sizes(text: str | None, sizes: tuple[int, ...] | None) -> None:
    assert cuda_graphs_of(text) == sizes


@pytest.mark.parametrize(
    ("environment", "field", "value"),
    [
        ({"HF_MODEL_ID": "m"}, "model_id", "m"),
        ({"HF_MODEL_ID": "m", "MODEL_ID": "n"}, "model_id", "n"),
        ({"MODEL_ID": "m", "SM_NUM_GPUS": "1"}, "num_shard", 1),
        ({"MODEL_ID": "m", "HF_MODEL_QUANTIZE": "autoround"}, "quantize", "autoround"),
        ({"MODEL_ID": "m", "HF_MODEL_TRUST_REMOTE_CODE": "true"}, "trust_remote_code", True),
        ({"MODEL_ID": "m"}, "prefix_caching", True),
        ({"MODEL_ID": "m", "PREFIX_CACHING": "0"}, "prefix_caching", False),
        ({"MODEL_ID": "m", "PREFIX_CACHING": "true"}, "prefix_caching", True),
        ({"MODEL_ID": "m", "WATERMARK_GAMMA": "0.25"}, "watermark_gamma", 0.25),
        ({"MODEL_ID": "m", "TGI_AUTOROUND_LM_HEAD_BITS": "8"}, "lm_head_bits", 8),
    ],
)
def test_variables_are_tgis_and_sagemakers(environment: dict[str, str], field: str, value: object) -> None:
    app = typer.Typer()
    understood: list[dict[str, object]] = []

    def record(**options: object) -> None:
        understood.append(options)

    record.__signature__ = serve.__signature__  # type: ignore[attr-defined]
    app.command()(record)
    result = CliRunner().invoke(app, [], env=environment)
    assert result.exit_code == 0, result.output
    assert understood[0][field] == value


def test_the_older_name_of_max_input_tokens_works() -> None:
    assert checked(ServeConfig(model_id="m", max_input_length=7)).max_input_tokens == 7


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("2K", 2000), ("1.5MiB", 1_572_864), ("2 GiB", 2 * 2**30), ("3gb", 3 * 10**9)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "1TB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        bytes_of(text)
