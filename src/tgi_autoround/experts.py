"""Mixture-of-experts layers whose experts lie apart in the file and are fused 3-D parameters in transformers 5.

The fused module is replaced by one that keeps a linear for each projection of each expert, under the names that the
file has (`experts.3.gate_proj`), and computes the same sum. Its linears are then loaded as any others are.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tgi_autoround.errors import UnsupportedError

EXPERT_TENSOR = re.compile(r"^(?P<experts>.*\.experts)\.\d+\.\w+\.\w+$")


class Expert(nn.Module):
    """The three projections of one expert, without memory until they are loaded."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False, device="meta")
        self.up_proj = nn.Linear(hidden, intermediate, bias=False, device="meta")
        self.down_proj = nn.Linear(intermediate, hidden, bias=False, device="meta")


class SeparateExperts(nn.ModuleList):
    """Stands in for a fused experts module of transformers."""

    def __init__(self, fused: Any) -> None:
        experts, hidden, intermediate = fused.down_proj.shape
        super().__init__(Expert(hidden, intermediate) for _ in range(experts))
        self.act_fn = fused.act_fn

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """hidden_states [tokens, hidden], top_k_index int64 and top_k_weights [tokens, k] -> [tokens, hidden]."""
        output = torch.zeros_like(hidden_states)
        experts: list[Any] = list(self)
        for index, expert in enumerate(experts):
            token, position = torch.where(top_k_index == index)
            if not token.numel():
                continue
            rows = hidden_states[token]
            rows = expert.down_proj(self.act_fn(expert.gate_proj(rows)) * expert.up_proj(rows))
            output.index_add_(0, token, (rows * top_k_weights[token, position, None]).to(output.dtype))
        return output


def separate_experts(model: nn.Module, tensors: Iterable[str]) -> None:
    """Replace every fused experts module of which `tensors` (names in the model) hold single experts.

    Raises UnsupportedError where the experts compute something else than `down(act(gate(x)) * up(x))`.
    """
    paths = {match["experts"] for tensor in tensors if (match := EXPERT_TENSOR.match(tensor))}
    modules = dict(model.named_modules())
    for path in sorted(paths & modules.keys()):
        fused = modules[path]
        if isinstance(fused, nn.ModuleList):
            continue
        _check_fused(fused, path)
        model.set_submodule(path, SeparateExperts(fused))


def _check_fused(module: Any, path: str) -> None:
    from transformers.integrations.moe import _default_apply_gate

    is_plain = getattr(type(module), "_apply_gate", None) is _default_apply_gate
    norms_outputs = getattr(module, "has_post_expert_norm", False)  # not known to transformers 5.17
    if not is_plain or module.is_transposed or module.has_bias or not module.has_gate or norms_outputs:
        raise UnsupportedError(
            f"{path}: a {type(module).__name__} computes its experts in a way of its own, "
            "which cannot be served from separate experts yet"
        )
