"""The lean forward computes what transformers' own code computes, for every family that it takes."""

from collections.abc import Iterator

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from tgi_autoround.engine.attention import PromptChunk, StepLayout
from tgi_autoround.engine.decoder import read
from tgi_autoround.engine.decoder.cpu import CpuDecoder
from tgi_autoround.engine.kv_cache import KVCache

VOCABULARY, POSITIONS = 97, 160
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
WINDOW = 24
TYPES = ["sliding_attention", "full_attention", "sliding_attention"]
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA3_ROPES = {
    "full_attention": {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama3 rope": LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    "mistral": MistralConfig(**SIZES, sliding_window=WINDOW),
    "qwen2": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    "qwen3": Qwen3Config(**SIZES),
    "phi3": Phi3Config(**SIZES, partial_rotary_factor=0.5, sliding_window=None),
    "gemma": GemmaConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, sliding_window=WINDOW, layer_types=TYPES, query_pre_attn_scalar=20),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=WINDOW, layer_types=TYPES, rope_parameters=GEMMA3_ROPES),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str) -> None:
    for got, expected in computed_and_expected(CONFIGS[name], torch.float32):
        assert torch.allclose(got, expected, atol=2e-4)


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_a_bfloat16_cache_costs_no_more_than_its_rounding(name: str) -> None:
    for got, expected in computed_and_expected(CONFIGS[name], torch.bfloat16):
        assert (got - expected).norm() < 0.04 * expected.norm()


def computed_and_expected(
    config: PreTrainedConfig, cache_dtype: torch.dtype
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Two sequences: prompts in chunks, a prompt beside a decoding one, then a token of each in every step."""
    model = random_model(config)
    sequences = torch.randint(1, VOCABULARY, (2, 60)).tolist()
    expected = logits_of(model, sequences)
    weights = read(model)
    assert not isinstance(weights, str)
    steps = Steps(CpuDecoder(weights, POSITIONS), KVCache(config, 2, POSITIONS, cache_dtype, torch.device("cpu")))
    got = [torch.empty(60, VOCABULARY), torch.empty(60, VOCABULARY)]
    with torch.inference_mode():
        got[0][:30] = steps.run(sequences, decoding=0, chunks=[(0, 0, 30)])
        rows = steps.run(sequences, decoding=1, positions=[30], chunks=[(1, 0, 20)])
        got[0][30:31], got[1][:20] = rows[:1], rows[1:]
        got[1][20:30] = steps.run(sequences, decoding=0, chunks=[(1, 20, 30)])
        for position in range(30, 59):
            rows = steps.run(sequences, decoding=2, positions=[position + 1, position])
            got[0][position + 1], got[1][position] = rows
    yield got[0], expected[0]
    yield got[1][:59], expected[1][:59]


class Steps:
    """Runs a decoder on chosen rows of sequences, each in the slot of its index, and returns the rows' logits."""

    def __init__(self, decoder: CpuDecoder, cache: KVCache) -> None:
        self.decoder, self.cache = decoder, cache

    def run(
        self,
        sequences: list[list[int]],
        decoding: int,
        positions: list[int] | None = None,
        chunks: list[tuple[int, int, int]] | None = None,
    ) -> torch.Tensor:
        positions = list(positions or [])
        tokens = [sequences[slot][position] for slot, position in enumerate(positions)]
        decode_positions = torch.tensor(positions, dtype=torch.int64)
        parts = []
        for slot, start, stop in chunks or []:
            parts.append(PromptChunk(slot, start, stop, offset=len(tokens)))
            tokens += sequences[slot][start:stop]
            positions += range(start, stop)
        mask = torch.arange(max(positions[:decoding], default=0) + 1) <= decode_positions[:, None]
        return self.decoder(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.tensor([positions]),
            logits_to_keep=torch.arange(len(tokens)),
            step=StepLayout(self.cache, decode_positions, mask[:, None, None], tuple(parts)),
        ).logits[0]


def random_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Norms and biases are random too, so that a forward that drops one computes something else."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter.data.normal_(std=0.3).add_(0.0 if name.endswith("bias") else 0.7)
    return model


def logits_of(model: PreTrainedModel, sequences: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor(sequences)).logits


def test_a_mixture_of_experts_is_left_to_its_own_code() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MixtralConfig(**SIZES, num_local_experts=2))
    reason = read(model)
    assert isinstance(reason, str)
    assert "mixtral" in reason
