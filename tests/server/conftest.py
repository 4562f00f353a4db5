"""One quantized model and one server for all tests of the API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.autoround import quantize_rtn
from tests.models import make_llama
from tests.quantize.fake_hub import PRESENT, FakeHub, fake_hub
from tests.server.live import LiveServer

MAX_TOTAL_TOKENS = 2048
EOS_ID = 2
OTHER_CHAT_TEMPLATE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system prompts') }}{% endif %}"
    "{% for message in messages %}<{{ message.content }}>{% endfor %}"
)


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A W4 checkpoint by auto-round of a random Llama whose greedy choices stand apart and never end the text."""
    directory = tmp_path_factory.mktemp("served")
    model = make_llama(directory / "llama", init_std=0.1, max_positions=MAX_TOTAL_TOKENS)
    _silence_eos(model / "model.safetensors")
    return quantize_rtn(model, directory / "quantized", bits=4)


@pytest.fixture(scope="session")
def tokenizer(served_model: Path) -> PreTrainedTokenizerBase:
    """The served model's tokenizer."""
    return AutoTokenizer.from_pretrained(served_model)


@pytest.fixture(scope="session")
def server(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server as users start it, with exact kernels so that equal requests have equal answers."""
    log = tmp_path_factory.mktemp("server") / "log"
    options = ("--quantize", "auto-round", "--cpu-compute", "fp32", "--enable-prefill-logprobs")
    live = LiveServer(served_model, log, *options)
    yield live
    live.close()


@pytest.fixture(scope="session")
def hub(served_model: Path) -> Iterator[FakeHub]:
    """A hub that has the served model."""
    with fake_hub(served_model) as running:
        yield running


@pytest.fixture(scope="session")
def small_server(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server of a hub's model with tight limits, set by environment variables under TGI's names."""
    directory = tmp_path_factory.mktemp("small-server")
    template = directory / "tokenizer_config.json"
    template.write_text(json.dumps({"chat_template": OTHER_CHAT_TEMPLATE}))
    environment = {
        "QUANTIZE": "auto-round",
        "API_KEY": "Secret",
        "CORS_ALLOW_ORIGIN": "https://example.org",
        "JSON_OUTPUT": "true",
        "MAX_BATCH_SIZE": "1",
        "MAX_CONCURRENT_REQUESTS": "2",
        "MAX_INPUT_TOKENS": "50",
        "DISABLE_GRAMMAR_SUPPORT": "true",
        "MAX_STOP_SEQUENCES": "1",
        "PAYLOAD_LIMIT": "1000",
        "COMPUTE_TYPE": "2-core",
        "TOKENIZER_CONFIG_PATH": str(template),
        "HUGGINGFACE_HUB_CACHE": str(directory / "hub"),
        "HF_ENDPOINT": hub.address,
        "HF_HUB_DISABLE_XET": "1",
    }
    live = LiveServer(PRESENT, directory / "log", **environment)
    live.http.headers["authorization"] = "Bearer secret"
    yield live
    live.close()


def _silence_eos(weights: Path) -> None:
    """Give the end of text a logit of 0, which is never the largest."""
    tensors = load_file(weights)
    tensors["lm_head.weight"][EOS_ID] = 0
    save_file(tensors, weights, metadata={"format": "pt"})
