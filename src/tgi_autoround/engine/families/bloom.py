"""Bloom: ALiBi, and a residual that its attention adds itself."""

from typing import Any

import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from tgi_autoround.engine.attention import AttentionOptions
from tgi_autoround.engine.families.replaced import Attend, replace_attention

ATTRIBUTES = ("dense", "head_dim", "inv_norm_factor", "num_heads", "query_key_value")


def install(model: Any, max_tokens: int) -> None:
    seen = torch.ones(1, max_tokens, device=model.device)
    key_bias = build_alibi_tensor(seen, model.config.n_head, torch.float32)[:, 0]

    def options(module: Any) -> AttentionOptions:
        return AttentionOptions(module.inv_norm_factor, key_bias=key_bias)

    replace_attention(model, "BloomAttention", ATTRIBUTES, _forward, options)


def _forward(
    module: Any, attend: Attend, hidden_states: torch.Tensor, residual: torch.Tensor, **_unused: Any
) -> tuple[torch.Tensor, None]:
    fused = module.query_key_value(hidden_states[0]).view(-1, module.num_heads, 3, module.head_dim)
    return module.dense(attend(*fused.unbind(2))) + residual, None
