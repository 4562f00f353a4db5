"""Experts in one kernel or one by one: decided by the loader's class and attributes, as TGI decides it."""

import torch
from torch import nn

from text_generation_server.layers.marlin.gptq import GPTQMarlinWeightsLoader
from text_generation_server.layers.moe.gptq_marlin import GPTQMarlinSparseMoELayer, can_use_marlin_moe_gemm


class DenseMoELayer(nn.Module):
    def __init__(self, *, n_experts, prefix, renormalize, topk, weights, gate_proj_name, up_proj_name, down_proj_name):
        super().__init__()
        self.topk, self.renormalize = topk, renormalize
        experts = [f"{prefix}.{expert}" for expert in range(n_experts)]
        self.gate = [weights.get_weights_col(f"{expert}.{gate_proj_name}").get_linear(None) for expert in experts]
        self.up = [weights.get_weights_col(f"{expert}.{up_proj_name}").get_linear(None) for expert in experts]
        self.down = [weights.get_weights_row(f"{expert}.{down_proj_name}").get_linear(None) for expert in experts]

    def forward(self, x, *, gating_output):
        shares, ids = gating_output.float().softmax(-1).topk(self.topk)
        shares = shares / shares.sum(-1, keepdim=True) if self.renormalize else shares
        out = torch.zeros_like(x)
        for expert, (gate, up, down) in enumerate(zip(self.gate, self.up, self.down, strict=True)):
            share = (shares * (ids == expert)).sum(-1, keepdim=True).to(x.dtype)
            out += share * down(nn.functional.silu(gate(x)) * up(x))
        return out


class SparseMoELayer(nn.Module):
    def __init__(self, *, weights, **arguments):
        super().__init__()
        if not self.is_supported(weights):
            raise ValueError(f"Unsupported weights loader: {type(weights.loader)}")
        self.moe = GPTQMarlinSparseMoELayer(weights=weights, **arguments)

    def forward(self, x, *, gating_output):
        return self.moe(x, gating_output=gating_output)

    @staticmethod
    def is_supported(weights):
        loader = weights.loader
        return isinstance(loader, GPTQMarlinWeightsLoader) and can_use_marlin_moe_gemm(
            quant_method=loader.quant_method, quantize=loader.quantize, sym=loader.sym
        )
