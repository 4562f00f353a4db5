"""GPT-J and CodeGen: rotary positions that turn neighbouring features into each other."""

from typing import Any

import torch
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb

from tgi_autoround.engine.attention import AttentionOptions
from tgi_autoround.engine.families.replaced import Attend, replace_attention

COMMON = ("embed_positions", "head_dim", "num_attention_heads", "out_proj", "rotary_dim", "scale_attn")
CODEGEN_PARTS = 4
"""CodeGen's q/v/k matrix was made for four devices: four times a quarter of the queries, of the values, of the keys."""


def install_gptj(model: Any, _max_tokens: int) -> None:
    replace_attention(model, "GPTJAttention", ("q_proj", "k_proj", "v_proj", *COMMON), _gptj, _options)


def install_codegen(model: Any, _max_tokens: int) -> None:
    replace_attention(model, "CodeGenAttention", ("qkv_proj", *COMMON), _codegen, _options)


def _options(module: Any) -> AttentionOptions:
    return AttentionOptions(1 / module.scale_attn)


def _gptj(
    module: Any, attend: Attend, hidden_states: torch.Tensor, *, position_ids: torch.Tensor, **_unused: Any
) -> tuple[torch.Tensor, None]:
    shape = (-1, module.num_attention_heads, module.head_dim)
    query, key, value = (
        project(hidden_states[0]).view(shape) for project in (module.q_proj, module.k_proj, module.v_proj)
    )
    attended = attend(_rotate(module, query, position_ids), _rotate(module, key, position_ids), value)
    return module.out_proj(attended), None


def _codegen(
    module: Any, attend: Attend, hidden_states: torch.Tensor, *, position_ids: torch.Tensor, **_unused: Any
) -> tuple[torch.Tensor, None]:
    parts = module.qkv_proj(hidden_states[0]).view(hidden_states.shape[1], CODEGEN_PARTS, 3, -1)
    shape = (-1, module.num_attention_heads, module.head_dim)
    query, value, key = (part.reshape(shape) for part in parts.unbind(2))
    attended = attend(_rotate(module, query, position_ids), _rotate(module, key, position_ids), value)
    return module.out_proj(attended), None


def _rotate(module: Any, states: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
    """states [tokens, heads, head_dim]: the first `rotary_dim` features are turned by their position."""
    sin, cos = module.embed_positions[position_ids].to(states.dtype).chunk(2, dim=-1)
    turned, kept = states.tensor_split([module.rotary_dim], dim=-1)
    return torch.cat((apply_rotary_pos_emb(turned[None], sin, cos)[0], kept), dim=-1)
