"""MPT: ALiBi, and projections that may be clipped."""

from typing import Any

import torch
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from tgi_autoround.engine.attention import AttentionOptions
from tgi_autoround.engine.families.replaced import Attend, replace_attention

ATTRIBUTES = ("Wqkv", "clip_qkv", "head_dim", "n_heads", "out_proj", "softmax_scale")


def install(model: Any, max_tokens: int) -> None:
    key_bias = build_mpt_alibi_tensor(model.config.n_heads, max_tokens, device=model.device)[:, 0]

    def options(module: Any) -> AttentionOptions:
        return AttentionOptions(module.softmax_scale, key_bias=key_bias)

    replace_attention(model, "MptAttention", ATTRIBUTES, _forward, options)


def _forward(module: Any, attend: Attend, hidden_states: torch.Tensor, **_unused: Any) -> tuple[torch.Tensor, None]:
    fused = module.Wqkv(hidden_states[0])
    if module.clip_qkv:
        fused = fused.clamp(-module.clip_qkv, module.clip_qkv)
    return module.out_proj(attend(*fused.view(-1, 3, module.n_heads, module.head_dim).unbind(1))), None
