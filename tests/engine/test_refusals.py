"""Models that the engine would serve wrongly are refused before it takes a request."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, MambaConfig
from transformers.models.bloom import modeling_bloom

from tests.models import make_tokenizer
from tgi_autoround.engine import Engine, EngineConfig, build_engine
from tgi_autoround.engine.cache_shape import cache_shape
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
MOE = {"num_hidden_layers": 4, "num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 64}


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
        ("qwen2_moe", {**MOE, "use_sliding_window": True, "sliding_window": 32}, "a window of 32 tokens by its mask"),
        ("llama4_text", {**MOE, "head_dim": 16, "intermediate_size_mlp": 64}, "layers of type chunked_attention"),
        ("diffllama", {"num_hidden_layers": 2}, "attends more than once a layer"),
        ("bert", {"num_hidden_layers": 2}, "do not see just those before them"),
        ("jetmoe", {**MOE, "num_key_value_heads": 2, "kv_channels": 16}, "stores keys and values of"),
        ("xglm", {"num_layers": 2, "d_model": 64, "ffn_dim": 64, "attention_heads": 4}, "has its own attention code"),
    ],
)
def test_a_family_that_needs_more_than_attention_is_refused(
    tmp_path: Path, family: str, config: dict[str, object], words: str
) -> None:
    model_dir = make_model(tmp_path, family, **config)
    with pytest.raises(UnsupportedError, match=words):
        start(model_dir)


def test_a_model_without_heads_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="MambaConfig has no num_attention_heads"):
        cache_shape(MambaConfig())


def test_layers_that_never_attend_are_refused_after_the_warm_up() -> None:
    config = LlamaConfig(hidden_size=4, num_attention_heads=1, num_key_value_heads=1, num_hidden_layers=3)
    cache = KVCache(config, slots=1, max_tokens=4, dtype=torch.float32, device=torch.device("cpu"))
    cache.layers_used.add(1)
    with pytest.raises(UnsupportedError, match="layers 0, 2 do not attend"):
        check_every_layer_attended(cache)


def test_a_longrope_model_is_served_up_to_its_original_length_and_not_above(tmp_path: Path) -> None:
    """Above, transformers rotates every sequence of a batch as the longest one asks."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    config = {"num_hidden_layers": 2, "rope_parameters": rope, "original_max_position_embeddings": 64}
    model_dir = make_model(tmp_path, "phi3", **config)
    start(model_dir, max_total_tokens=64).stop()
    with pytest.raises(UnsupportedError, match=r"'longrope'.*--max-total-tokens 64 or less"):
        start(model_dir, max_total_tokens=65)


def test_a_module_that_transformers_has_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_dir = make_model(tmp_path, "bloom", n_layer=2, n_head=4)
    monkeypatch.setattr(modeling_bloom.BloomAttention, "__init__", without_norm_factor(modeling_bloom.BloomAttention))
    with pytest.raises(UnsupportedError, match="BloomAttention has no inv_norm_factor"):
        start(model_dir)


def without_norm_factor(attention: type[torch.nn.Module]) -> Callable[..., None]:
    original = attention.__init__

    def init(self: torch.nn.Module, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)
        del self.inv_norm_factor

    return init
