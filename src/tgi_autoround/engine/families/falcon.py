"""Falcon: three layouts of one q/k/v matrix, with rotary positions or with ALiBi."""

import math
from typing import Any

import torch
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb, build_alibi_tensor

from tgi_autoround.engine.attention import AttentionOptions
from tgi_autoround.engine.families.replaced import Attend, replace_attention

ATTRIBUTES = (
    "dense",
    "head_dim",
    "multi_query",
    "new_decoder_architecture",
    "num_heads",
    "num_kv_heads",
    "query_key_value",
)


def install(model: Any, max_tokens: int) -> None:
    key_bias = _key_bias(model, max_tokens) if model.config.alibi else None

    def options(module: Any) -> AttentionOptions:
        return AttentionOptions(1 / math.sqrt(module.head_dim), key_bias=key_bias)

    replace_attention(model, "FalconAttention", ATTRIBUTES, _forward, options)


def _key_bias(model: Any, max_tokens: int) -> torch.Tensor:
    """Falcon rounds ALiBi to bfloat16 and scales it with the products, and so its own function makes it."""
    seen = torch.ones(1, max_tokens, dtype=torch.int64, device=model.device)
    alibi: torch.Tensor = build_alibi_tensor(seen, model.config.num_attention_heads, torch.float32)[:, 0]
    return alibi / math.sqrt(model.config.head_dim)


def _forward(
    module: Any,
    attend: Attend,
    hidden_states: torch.Tensor,
    *,
    alibi: torch.Tensor | None,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **_unused: Any,
) -> tuple[torch.Tensor, None]:
    query, key, value = _split(module, module.query_key_value(hidden_states[0]))
    if alibi is None:
        cos, sin = position_embeddings
        query, key = (states[0] for states in apply_rotary_pos_emb(query[None], key[None], cos, sin, unsqueeze_dim=2))
    return module.dense(attend(query, key, value)), None


def _split(module: Any, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return queries [tokens, heads, head_dim], keys and values [tokens, kv_heads, head_dim].

    Each key/value head follows the queries that share it, but where every query head has its own.
    """
    kv_heads = module.num_kv_heads
    grouped = fused.view(-1, kv_heads, module.num_heads // kv_heads + 2, module.head_dim)
    return grouped[:, :, :-2].flatten(1, 2), grouped[:, :, -2], grouped[:, :, -1]
