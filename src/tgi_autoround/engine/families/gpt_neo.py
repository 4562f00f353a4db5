"""GPT-Neo: products that nothing scales, every other layer with a window."""

from typing import Any

import torch

from tgi_autoround.engine.attention import AttentionOptions
from tgi_autoround.engine.families.replaced import Attend, replace_attention

ATTRIBUTES = ("attention_type", "head_dim", "num_heads", "q_proj", "k_proj", "v_proj", "out_proj")


def install(model: Any, _max_tokens: int) -> None:
    def options(module: Any) -> AttentionOptions:
        window = model.config.window_size if module.attention_type == "local" else None
        return AttentionOptions(1.0, window=window)

    replace_attention(model, "GPTNeoSelfAttention", ATTRIBUTES, _forward, options)


def _forward(module: Any, attend: Attend, hidden_states: torch.Tensor, **_unused: Any) -> tuple[torch.Tensor, None]:
    shape = (-1, module.num_heads, module.head_dim)
    rows = (project(hidden_states[0]).view(shape) for project in (module.q_proj, module.k_proj, module.v_proj))
    return module.out_proj(attend(*rows)), None
