"""Tiny models of every family that the engine serves, with what makes the family's attention its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.coverage.edits import pack_linears
from tests.models import make_tokenizer

WINDOW = 32
INIT_STD = 0.15
"""Large enough that attention, and what is particular about it, shows in the logits."""

TOKENS = {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "tie_word_embeddings": False}
POSITIONS = {"max_position_embeddings": 256}
OPT_LIKE = {
    **TOKENS,
    **POSITIONS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LLAMA_LIKE = {**OPT_LIKE, "num_key_value_heads": 2}
WIDE_HEADS = {**LLAMA_LIKE, "head_dim": 32}
GPT2_LIKE = {**TOKENS, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
FALCON_LIKE = {**TOKENS, **POSITIONS, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
COMPRESSED = {
    "q_lora_rank": 64,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 24,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "n_routed_experts": 4,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
"""Keys and values of different widths, made of one narrow projection."""
GPT_NEO = {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW}
SWITCHED_WINDOW = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
TWO_ROPES = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0},
}
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.5] * 8, "long_factor": [9.0] * 8}


@dataclass(frozen=True, slots=True)
class Family:
    """A transformers model_type and the fields of its config; its linears lie below `blocks`, those in `kept` stay."""

    model_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    blocks: str = "model.layers"
    kept: tuple[str, ...] = ()
    transposed: bool = False


FAMILIES = {
    "llama": Family("llama", LLAMA_LIKE),
    "llama, dynamic": Family(
        "llama", {**LLAMA_LIKE, "rope_parameters": {**PLAIN_ROPE, "rope_type": "dynamic", "factor": 4.0}}
    ),
    "qwen2": Family("qwen2", LLAMA_LIKE),
    "qwen2, windows in some layers": Family("qwen2", {**LLAMA_LIKE, **SWITCHED_WINDOW}),
    "qwen3": Family("qwen3", WIDE_HEADS),
    "mistral, window": Family("mistral", {**LLAMA_LIKE, "sliding_window": WINDOW}),
    "phi": Family("phi", LLAMA_LIKE),
    "phi3, window": Family("phi3", {**LLAMA_LIKE, "sliding_window": WINDOW}),
    "phi3, longrope": Family(
        "phi3", {**LLAMA_LIKE, "rope_parameters": LONGROPE, "original_max_position_embeddings": 200}
    ),
    "gemma": Family("gemma", {**WIDE_HEADS, "num_key_value_heads": 1}),
    "gemma2": Family("gemma2", {**WIDE_HEADS, **ALTERNATING, "attn_logit_softcapping": 2.0}),
    "gemma3": Family("gemma3_text", {**WIDE_HEADS, **ALTERNATING, "rope_parameters": TWO_ROPES}),
    "gemma3, with a vision tower": Family(
        "gemma3",
        {
            "text_config": {**WIDE_HEADS, **ALTERNATING, "rope_parameters": TWO_ROPES},
            "vision_config": VISION,
            "mm_tokens_per_image": 4,
            "tie_word_embeddings": False,
        },
        "language_model.model.layers",
    ),
    "opt": Family("opt", {**OPT_LIKE, "ffn_dim": 96, "word_embed_proj_dim": 64}, "model.decoder.layers"),
    "gpt2": Family("gpt2", {**GPT2_LIKE, "scale_attn_by_inverse_layer_idx": True}, "transformer.h", transposed=True),
    "gpt_neox": Family("gpt_neox", OPT_LIKE, "gpt_neox.layers"),
    "gptj": Family("gptj", {**GPT2_LIKE, "rotary_dim": 8}, "transformer.h"),
    "codegen": Family("codegen", {**GPT2_LIKE, "n_ctx": 256, "rotary_dim": 8}, "transformer.h"),
    "gpt_neo, windows in some layers": Family(
        "gpt_neo", {**TOKENS, **POSITIONS, "hidden_size": 64, **GPT_NEO}, "transformer.h"
    ),
    "bloom": Family("bloom", {**TOKENS, "hidden_size": 96, "n_layer": 2, "n_head": 6}, "transformer.h"),
    "mpt": Family(
        "mpt",
        {**TOKENS, "d_model": 96, "n_layers": 2, "n_heads": 6, "max_seq_len": 256, "attn_config": {"clip_qkv": 0.8}},
        "transformer.blocks",
    ),
    "falcon, rotary, multi-query": Family("falcon", FALCON_LIKE, "transformer.h"),
    "falcon, ALiBi, all heads": Family(
        "falcon", {**FALCON_LIKE, "alibi": True, "multi_query": False, "parallel_attn": False}, "transformer.h"
    ),
    "falcon, grouped heads": Family(
        "falcon", {**FALCON_LIKE, "new_decoder_architecture": True, "num_kv_heads": 2}, "transformer.h"
    ),
    "stablelm": Family("stablelm", {**LLAMA_LIKE, "qk_layernorm": True}),
    "mixtral": Family("mixtral", {**LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2}, kept=("gate",)),
    "qwen2_moe": Family(
        "qwen2_moe",
        {**LLAMA_LIKE, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32},
        kept=("mlp.gate", "shared_expert_gate"),
    ),
    "qwen3_moe": Family("qwen3_moe", {**WIDE_HEADS, **EXPERTS, "num_experts": 4}, kept=("mlp.gate",)),
    "starcoder2, window": Family("starcoder2", {**LLAMA_LIKE, "sliding_window": WINDOW}),
    "olmo2": Family("olmo2", LLAMA_LIKE),
    "granite": Family("granite", {**LLAMA_LIKE, "attention_multiplier": 0.3, "residual_multiplier": 0.7}),
    "cohere2": Family("cohere2", {**LLAMA_LIKE, **ALTERNATING}),
    "vaultgemma, softcap through the interface": Family(
        "vaultgemma", {**WIDE_HEADS, **ALTERNATING, "attn_logit_softcapping": 2.0}
    ),
    "gpt_oss, sinks": Family(
        "gpt_oss",
        {**WIDE_HEADS, **ALTERNATING, "num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": PLAIN_ROPE},
        kept=("router",),
    ),
    "deepseek_v2": Family("deepseek_v2", {**LLAMA_LIKE, **COMPRESSED, **EXPERTS}, kept=("mlp.gate",)),
    "deepseek_v3": Family("deepseek_v3", {**LLAMA_LIKE, **COMPRESSED, **EXPERTS}, kept=("mlp.gate",)),
    "glm4_moe_lite": Family("glm4_moe_lite", {**LLAMA_LIKE, **COMPRESSED, **EXPERTS}, kept=("mlp.gate",)),
    "minicpm3": Family("minicpm3", {**LLAMA_LIKE, **COMPRESSED}),
    "nemotron": Family("nemotron", LLAMA_LIKE),
    "biogpt": Family("biogpt", OPT_LIKE, "biogpt.layers"),
    "persimmon": Family("persimmon", OPT_LIKE),
    "olmo3, windows in some layers": Family("olmo3", {**LLAMA_LIKE, **ALTERNATING}),
    "exaone4": Family("exaone4", {**LLAMA_LIKE, **ALTERNATING}),
    "glm4": Family("glm4", {**LLAMA_LIKE, "head_dim": 16}),
    "smollm3": Family("smollm3", LLAMA_LIKE),
    "cohere": Family("cohere", LLAMA_LIKE),
    "olmoe": Family("olmoe", {**LLAMA_LIKE, "num_experts": 4, "num_experts_per_tok": 2}, kept=("mlp.gate",)),
    "gpt_bigcode": Family("gpt_bigcode", GPT2_LIKE, "transformer.h"),
}


def make_quantized(family: Family, path: Path) -> Path:
    """Write a random model with 4-bit linears and a tokenizer into `path` and return it."""
    make_tokenizer(path, vocab_size=TOKENS["vocab_size"])
    config = AutoConfig.for_model(family.model_type, **family.fields)
    model = AutoModelForCausalLM.from_config(config)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = INIT_STD * torch.randn(parameter.shape, generator=random)
            parameter.copy_(spread if parameter.dim() > 1 else parameter + spread)
    model.save_pretrained(path)
    pack_linears(path, family.blocks, kept=family.kept, transposed=family.transposed)
    return path
