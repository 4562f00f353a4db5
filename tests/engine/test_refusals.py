"""Models that the engine would serve wrongly are refused before it takes a request."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from tests.models import make_tokenizer
from tgi_autoround.engine import Engine, EngineConfig, build_engine
from tgi_autoround.engine.families import check_every_layer_attended
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.errors import UnsupportedError

SMALL = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def make_model(path: Path, family: str, **config: object) -> Path:
    make_tokenizer(path)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SMALL, **config}))
    model.save_pretrained(path)
    return path


def start(model_dir: Path, **options: int) -> Engine:
    engine, _tokenizer, _config = build_engine(EngineConfig(model_dir, **options))  # type: ignore[arg-type]
    engine.start()
    return engine


@pytest.mark.parametrize(
    ("family", "config", "words"),
    [
        ("lfm2", {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}, "layers of type conv"),
        ("recurrent_gemma", {"num_hidden_layers": 3, "lru_width": 64}, "layers of type linear_attention"),
        ("gemma2", {"num_hidden_layers": 2, "head_dim": 16}, "asks its attention for softcap"),
        ("mistral", {"num_hidden_layers": 2, "sliding_window": 32}, "a window of 32 tokens"),
        ("gptj", {"n_layer": 2, "n_head": 4, "n_embd": 64, "rotary_dim": 8}, "has its own attention code"),
    ],
)
def test_a_family_that_needs_more_than_attention_is_refused(
    tmp_path: Path, family: str, config: dict[str, object], words: str
) -> None:
    model_dir = make_model(tmp_path, family, **config)
    with pytest.raises(UnsupportedError, match=words):
        start(model_dir)


def test_layers_that_never_attend_are_refused_after_the_warm_up() -> None:
    config = LlamaConfig(hidden_size=4, num_attention_heads=1, num_key_value_heads=1, num_hidden_layers=3)
    cache = KVCache(config, slots=1, max_tokens=4, dtype=torch.float32, device=torch.device("cpu"))
    cache.layers_used.add(1)
    with pytest.raises(UnsupportedError, match="layers 0, 2 do not attend"):
        check_every_layer_attended(cache)


def test_a_window_that_no_request_reaches_is_no_reason_to_refuse(tmp_path: Path) -> None:
    model_dir = make_model(tmp_path, "mistral", num_hidden_layers=2, sliding_window=32)
    start(model_dir, max_total_tokens=32).stop()
