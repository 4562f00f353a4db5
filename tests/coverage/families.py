"""Tiny random models of every architecture that the tests quantize, and the models that AutoRound's README lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOKENS = {"vocab_size": 1024, "bos_token_id": 1, "eos_token_id": 2}
LLAMA_LIKE = {
    **TOKENS,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 2,
}
OPT_LIKE = {name: value for name, value in LLAMA_LIKE.items() if name != "num_key_value_heads"}
GPT2_LIKE = {**TOKENS, "n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 256}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 128}
LLAMA = {**LLAMA_LIKE, "hidden_size": 256, "intermediate_size": 384}


@dataclass(frozen=True, slots=True)
class Model:
    """A transformers model_type, the fields of its config and the dtype of its file."""

    architecture: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float16"


FAMILIES = {
    "llama": LLAMA_LIKE,
    "mistral": LLAMA_LIKE,
    "mixtral": {**LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": LLAMA_LIKE,
    "qwen2_moe": {**LLAMA_LIKE, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 128},
    "qwen3": {**LLAMA_LIKE, "head_dim": 32},
    "qwen3_moe": {**LLAMA_LIKE, **EXPERTS, "num_experts": 4, "head_dim": 32},
    "phi": LLAMA_LIKE,
    "phi3": LLAMA_LIKE,
    "gemma": {**LLAMA_LIKE, "head_dim": 32, "num_key_value_heads": 1},
    "gemma2": {**LLAMA_LIKE, "head_dim": 32},
    "gemma3_text": {**LLAMA_LIKE, "head_dim": 32},
    "stablelm": LLAMA_LIKE,
    "starcoder2": LLAMA_LIKE,
    "olmo2": LLAMA_LIKE,
    "opt": {**OPT_LIKE, "ffn_dim": 256, "word_embed_proj_dim": 128},
    "bloom": {**TOKENS, "hidden_size": 128, "n_layer": 2, "n_head": 4},
    "gpt2": GPT2_LIKE,
    "gptj": {**GPT2_LIKE, "rotary_dim": 16},
    "gpt_neo": {
        **TOKENS,
        "hidden_size": 128,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 256,
    },
    "gpt_neox": OPT_LIKE,
    "mpt": {**TOKENS, "d_model": 128, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "falcon": {**TOKENS, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "codegen": {**GPT2_LIKE, "n_ctx": 256, "rotary_dim": 16},
}
MODELS = {
    **{f"tiny {name}": Model(name, fields) for name, fields in FAMILIES.items()},
    "llama": Model("llama", LLAMA),
    "llama bfloat16": Model("llama", LLAMA, "bfloat16"),
    "llama bias": Model("llama", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
    "llama tied": Model("llama", {**LLAMA, "tie_word_embeddings": True}),
    "llama 352": Model("llama", {**LLAMA, "intermediate_size": 352}),
    "llama 344": Model("llama", {**LLAMA, "intermediate_size": 344}),
}
UNREACHABLE = "its code lies beside its weights and was not at hand; `--trust-remote-code` is untested with it"
README_MODELS = {
    "Intel/neural-chat-7b-v3-3": "mistral",
    "Intel/neural-chat-7b-v3-1": "mistral",
    "mistralai/Mistral-7B-v0.1": "mistral",
    "microsoft/phi-2": "phi",
    "tiiuae/falcon-7b": "falcon",
    "google/gemma-2b": "gemma",
    "mistralai/Mistral-7B-Instruct-v0.2": "mistral",
    "google/gemma-7b": "gemma",
    "google/gemma-7b-it": "gemma",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral",
    "mistralai/Mixtral-8x7B-v0.1": "mixtral",
    "meta-llama/Meta-Llama-3-8B-Instruct": "llama",
    "meta-llama/Llama-2-7b-chat-hf": "llama",
    "Qwen/Qwen1.5-7B-Chat": "qwen2",
    "baichuan-inc/Baichuan2-7B-Chat": None,
    "01-ai/Yi-6B-Chat": "llama",
    "facebook/opt-2.7b": "opt",
    "bigscience/bloom-3b": "bloom",
    "EleutherAI/gpt-j-6b": "gptj",
    "Salesforce/codegen25-7b-multi": "llama",
    "huggyllama/llama-7b": "llama",
    "mosaicml/mpt-7b": "mpt",
    "THUDM/chatglm3-6b": None,
    "MBZUAI/LaMini-GPT-124M": "gpt2",
    "EleutherAI/gpt-neo-125m": "gpt_neo",
    "databricks/dolly-v2-3b": "gpt_neox",
    "stabilityai/stablelm-base-alpha-3b": "gpt_neox",
}
"""Model on the hub -> model_type, None where transformers has no code of its own for it (see UNREACHABLE)."""
