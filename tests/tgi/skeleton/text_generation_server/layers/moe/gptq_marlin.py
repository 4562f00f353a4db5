"""The layer that gives all experts of a block to one kernel, which is asked for when it is needed."""

import torch
from torch import nn

from text_generation_server.layers.marlin.gptq import GPTQMarlinWeight


def can_use_marlin_moe_gemm(*, quant_method, quantize, sym):
    on_gpu = torch.cuda.get_device_capability(None) >= (8, 0)
    return on_gpu and quantize in ("awq", "gptq") and (quant_method == "awq" or (quant_method == "gptq" and sym))


class GPTQMarlinSparseMoELayer(nn.Module):
    def __init__(self, *, n_experts, prefix, renormalize, topk, weights, gate_proj_name, up_proj_name, down_proj_name):
        super().__init__()
        self.topk, self.renormalize, self.bits = topk, renormalize, weights.loader.bits
        experts = [f"{prefix}.{expert}" for expert in range(n_experts)]
        columns = [(f"{expert}.{gate_proj_name}", f"{expert}.{up_proj_name}") for expert in experts]
        self.gate_up = stacked(weights.get_multi_weights_col(list(names), 0) for names in columns)
        self.down = stacked(weights.get_weights_row(f"{expert}.{down_proj_name}") for expert in experts)

    def forward(self, x, *, gating_output):
        return fused_marlin_moe(
            hidden_states=x,
            w1=self.gate_up["qweight"],
            w2=self.down["qweight"],
            w1_scale=self.gate_up["scales"],
            w2_scale=self.down["scales"],
            g_idx1=self.gate_up["g_idx"],
            g_idx2=self.down["g_idx"],
            sort_indices1=self.gate_up["perm"],
            sort_indices2=self.down["perm"],
            is_k_full=self.gate_up["is_full_k"] or self.down["is_full_k"],
            gating_output=gating_output,
            topk=self.topk,
            renormalize=self.renormalize,
            num_bits=self.bits,
            scoring_func="softmax",
        )


def stacked(weights):
    weights = list(weights)
    assert all(isinstance(weight, GPTQMarlinWeight) for weight in weights)
    tensors = {
        name: torch.stack([getattr(weight, name) for weight in weights])
        for name in ("qweight", "qzeros", "scales", "g_idx", "perm")
    }
    assert tensors["qzeros"].numel() == 0
    return tensors | {"is_full_k": weights[0].is_full_k}


def fused_marlin_moe(
    *,
    hidden_states,
    w1,
    w2,
    w1_scale,
    w2_scale,
    gating_output,
    g_idx1,
    g_idx2,
    sort_indices1,
    sort_indices2,
    is_k_full,
    topk,
    renormalize,
    num_bits=8,
    scoring_func=None,
):
    from text_generation_server.utils.kernels import load_kernel

    kernels = load_kernel(module="moe", repo_id="kernels-community/moe")
    assert hidden_states.dtype == torch.float16
    assert num_bits in (4, 8)
    shares, ids = kernels.fused_topk(
        hidden_states=hidden_states, gating_output=gating_output, topk=topk, renormalize=renormalize
    )
    return kernels.fused_marlin_moe(
        hidden_states=hidden_states,
        w1=w1,
        w2=w2,
        w1_scale=w1_scale,
        w2_scale=w2_scale,
        gating_output=gating_output,
        topk_weights=shares,
        topk_ids=ids,
        g_idx1=g_idx1,
        g_idx2=g_idx2,
        sort_indices1=sort_indices1,
        sort_indices2=sort_indices2,
        num_bits=num_bits,
        is_k_full=is_k_full,
    )
