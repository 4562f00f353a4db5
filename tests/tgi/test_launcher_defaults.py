"""The settings that the stock launcher would have derived, had `quant_method` not cost it the whole config.json.

Expected values are read from launcher/src/main.rs, v3.3.7, by hand; the numbers beside them are its lines.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.tgi.launching import AUTO_ROUND, Machine
from tgi_autoround.tgi.launcher.plan import plan

H100, A100, T4 = ("NVIDIA H100 80GB HBM3", "9.0"), ("NVIDIA A100-SXM4-80GB", "8.0"), ("Tesla T4", "7.5")
NVIDIA_T4 = ("NVIDIA T4", "7.5")
LLAMA_8B = {"num_key_value_heads": 8, "intermediate_size": 14_336, "num_hidden_layers": 32}
"""15_032_385_536 operations a token: 32 x (2 x 128 x 4096 x (3 x 32 + 2 x 8) + 6 x 4096 x 14336), 296-306."""


@dataclass(frozen=True)
class Case:
    expected: tuple[str, str, str] | None
    """ATTENTION, PREFIX_CACHING and MAX_BATCH_PREFILL_TOKENS, or that nothing is set."""
    config: dict[str, Any]
    gpu: tuple[str, str] | None = A100
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


CASES = {
    # Lines 154-155, 196-197 and 2126; without all sizes no estimate of the optimum, 287-294.
    "heads of 128": Case(("flashinfer", "true", "4096"), {}),
    "heads of 64": Case(("flashinfer", "true", "4096"), {"hidden_size": 2048}),
    "heads of 256": Case(("flashinfer", "true", "4096"), {"head_dim": 256}),
    # 146-152 and 180-188
    "heads of 80": Case(("flashdecoding", "0", "4096"), {"hidden_size": 2560}),
    "heads of 96, as the config says": Case(("flashdecoding", "0", "4096"), {"head_dim": 96}),
    "heads of 80 on a T4": Case(("paged", "0", "4096"), {"hidden_size": 2560}, T4),
    "heads of 80 without a GPU": Case(("paged", "0", "4096"), {"hidden_size": 2560}, None),
    "no size of heads": Case(("flashdecoding", "0", "4096"), {"hidden_size": None}),
    "heads that do not divide": Case(("flashdecoding", "0", "4096"), {"hidden_size": 4100}),
    "n_embd for hidden_size": Case(("flashinfer", "true", "4096"), {"hidden_size": None, "n_embd": 4096}),
    # 267-278
    "heads of the text model": Case(
        ("flashinfer", "true", "4096"), {"hidden_size": None, "text_config": {"head_dim": 128}}
    ),
    "a text model that does not say": Case(("flashdecoding", "0", "4096"), {"hidden_size": None, "text_config": {}}),
    # 136-144
    "vision": Case(("flashinfer", "0", "4096"), {"vision_config": {}}),
    "encoder and decoder": Case(("flashinfer", "0", "4096"), {"is_encoder_decoder": True}),
    # 156-159
    "adapters": Case(("flashinfer", "0", "4096"), {}, A100, ("--lora-adapters", "someone/adapter")),
    "adapters by variable": Case(("flashinfer", "0", "4096"), {}, A100, (), {"LORA_ADAPTERS": "someone/adapter"}),
    # 160-175
    "falcon": Case(("flashdecoding", "true", "4096"), {"model_type": "falcon"}),
    "falcon on a T4": Case(("paged", "0", "4096"), {"model_type": "falcon"}, T4),
    "deepseek_v2": Case(("flashdecoding", "true", "4096"), {"model_type": "deepseek_v2"}),
    "deepseek_v2 without a GPU": Case(("paged", "0", "4096"), {"model_type": "deepseek_v2"}, None),
    # Lines 2122-2129 and 2136-2141; gemma3's heads, 276.
    "qwen2_vl": Case(("flashinfer", "0", "10000"), {"model_type": "qwen2_vl", "vision_config": {}}),
    "qwen2_5_vl of short context": Case(
        ("flashinfer", "0", "8192"),
        {"model_type": "qwen2_5_vl", "vision_config": {}, "max_position_embeddings": 8192},
    ),
    "gemma3": Case(
        ("flashinfer", "0", "8000"),
        {
            "model_type": "gemma3",
            "hidden_size": None,
            "max_position_embeddings": None,
            "text_config": {},
            "vision_config": {},
        },
    ),
    "short context": Case(("flashinfer", "true", "2048"), {"max_position_embeddings": 2048}),
    "max_seq_len": Case(("flashinfer", "true", "1024"), {"max_position_embeddings": None, "max_seq_len": 1024}),
    "n_positions": Case(("flashinfer", "true", "512"), {"max_position_embeddings": None, "n_positions": 512}),
    # 28-45 with 1754-1785: 900, 312, 65 x 10^12 a second of an H100, A100, T4
    "8B on an H100": Case(("flashinfer", "true", "59870"), {**LLAMA_8B, "max_position_embeddings": 131_072}, H100),
    "8B on two": Case(
        ("flashinfer", "true", "119741"),
        {**LLAMA_8B, "max_position_embeddings": 131_072},
        H100,
        ("--num-shard", "2"),
    ),
    "8B on the two that are visible": Case(
        ("flashinfer", "true", "119741"),
        {**LLAMA_8B, "max_position_embeddings": 131_072},
        H100,
        (),
        {"CUDA_VISIBLE_DEVICES": "0,1"},
    ),
    "8B of 8192 tokens on an H100": Case(
        ("flashinfer", "true", "8192"), {**LLAMA_8B, "max_position_embeddings": 8192}, H100
    ),
    "8B on a T4": Case(("flashinfer", "true", "4323"), LLAMA_8B, NVIDIA_T4),
    "8B on a T4 under its older name, 1716": Case(("flashinfer", "true", "4096"), LLAMA_8B, T4),
    "8B on a card unknown to the launcher": Case(
        ("flashinfer", "true", "4096"), LLAMA_8B, ("NVIDIA GeForce RTX 5090", "12.0")
    ),
    "two experts of a Mixtral, 291-293": Case(
        ("flashinfer", "true", "11860"), {**LLAMA_8B, "num_experts_per_tok": 2, "num_local_experts": 8}
    ),
    "an optimum too low to be true, 37-44": Case(
        ("flashinfer", "true", "4096"),
        {
            "hidden_size": 16_384,
            "num_attention_heads": 128,
            "num_key_value_heads": 8,
            "intermediate_size": 53_248,
            "num_hidden_layers": 126,
        },
        NVIDIA_T4,
    ),
    "a vision model has no optimum, 282-286": Case(
        ("flashinfer", "0", "4096"), {**LLAMA_8B, "vision_config": {}}, H100
    ),
    # 203-226: usize and bool fields; anything else and the launcher drops the config by itself
    "sizes a layer": Case(None, {"intermediate_size": [1024, 2048]}),
    "a fractional size": Case(None, {"max_position_embeddings": 4096.0}),
    "a negative size": Case(None, {"head_dim": -1}),
    "a size that is none": Case(None, {"hidden_size": True}),
    "a name that is none": Case(None, {"model_type": 5}),
    "a fractional size of the text model": Case(None, {"text_config": {"head_dim": 1.5}}),
}
NAMES = ("ATTENTION", "PREFIX_CACHING", "MAX_BATCH_PREFILL_TOKENS")


@pytest.mark.parametrize("name", CASES)
def test_the_launcher_would_have_derived(name: str, tmp_path: Path) -> None:
    case, machine = CASES[name], Machine(tmp_path)
    if case.gpu is not None:
        machine.add_gpu(*case.gpu)
    model = machine.model("model", AUTO_ROUND, **case.config)
    planned = plan(["--model-id", str(model), *case.arguments], machine.environment | case.environment)
    expected = {} if case.expected is None else dict(zip(NAMES, case.expected, strict=True))
    assert planned.added == expected


def test_fields_that_transformers_5_moved_count_where_they_were(tmp_path: Path) -> None:
    """Its Qwen2-VL has them in text_config, where the launcher would find no size of heads."""
    machine = Machine(tmp_path)
    model = machine.model("model", AUTO_ROUND)
    text = {"hidden_size": 1536, "num_attention_heads": 12, "max_position_embeddings": 8192}
    config = {"model_type": "qwen2_vl", "quantization_config": AUTO_ROUND, "text_config": text, "vision_config": {}}
    (model / "config.json").write_text(json.dumps(config))
    planned = plan(["--model-id", str(model)], machine.environment)
    assert planned.added == dict(zip(NAMES, ("flashinfer", "0", "8192"), strict=True))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # 133-134: what is set stays; 191-194: paged decides about prefix caching
        ({"ATTENTION": "flashinfer"}, {"PREFIX_CACHING": "0", "MAX_BATCH_PREFILL_TOKENS": "4096"}),
        ({"PREFIX_CACHING": "true"}, {"ATTENTION": "flashdecoding", "MAX_BATCH_PREFILL_TOKENS": "4096"}),
        ({"ATTENTION": "paged", "PREFIX_CACHING": "1"}, {"MAX_BATCH_PREFILL_TOKENS": "4096"}),
    ],
)
def test_what_the_user_has_set_stays(tmp_path: Path, given: dict[str, str], expected: dict[str, str]) -> None:
    machine = Machine(tmp_path)
    machine.add_gpu(*A100)
    model = machine.model("model", AUTO_ROUND, head_dim=80)
    assert plan(["--model-id", str(model)], machine.environment | given).added == expected
