"""Doubles of what the Marlin kernel of TGI's image consists of: same functions and meaning, a layout of their own."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from tgi_autoround.tgi import marlin

TILE = 16
WITHIN_64_COLUMNS = torch.arange(64).view(8, 8).t().flatten()
WITHIN_32_COLUMNS = torch.arange(32).flip(0)


class Quantization:
    """The kernels-community/quantization module: repack and multiply, each checking what it is given."""

    scalar_types = SimpleNamespace(uint4b8=SimpleNamespace(bits=4), uint8b128=SimpleNamespace(bits=8))

    def __init__(self) -> None:
        self.products = 0

    def gptq_marlin_repack(
        self, b_q_weight: torch.Tensor, perm: torch.Tensor, size_k: int, size_n: int, num_bits: int
    ) -> torch.Tensor:
        assert b_q_weight.dtype == perm.dtype == torch.int32
        assert perm.numel() == 0
        assert b_q_weight.shape == (size_k * num_bits // 32, size_n)
        assert b_q_weight.is_contiguous()
        return b_q_weight.t().contiguous().view(size_k // TILE, size_n * num_bits * TILE // 32)

    def gptq_marlin_gemm(
        self,
        a: torch.Tensor,
        b_q_weight: torch.Tensor,
        b_scales: torch.Tensor,
        b_zeros: torch.Tensor,
        g_idx: torch.Tensor,
        perm: torch.Tensor,
        workspace: torch.Tensor,
        b_q_type: SimpleNamespace,
        size_m: int,
        size_n: int,
        size_k: int,
        is_k_full: bool,
        has_zp: bool,
        use_fp32_reduce: bool,
    ) -> torch.Tensor:
        assert size_m > 0
        assert a.shape == (size_m, size_k)
        assert a.is_contiguous()
        assert a.dtype == b_scales.dtype
        assert b_zeros.numel() == g_idx.numel() == perm.numel() == 0
        assert workspace.dtype == torch.int32
        assert workspace.numel() >= size_n // 64 * 16
        assert not workspace.any()
        assert is_k_full
        assert use_fp32_reduce
        assert not has_zp
        self.products += 1
        return (a.float() @ dequantized(b_q_weight, b_scales, b_q_type.bits)).to(a.dtype)


class Moe:
    """The kernels-community/moe module: route, and multiply every token by its own experts."""

    def __init__(self) -> None:
        self.products = 0

    def fused_topk(
        self, hidden_states: torch.Tensor, gating_output: torch.Tensor, topk: int, renormalize: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shares, experts = gating_output.float().softmax(-1).topk(topk)
        return shares / shares.sum(-1, keepdim=True) if renormalize else shares, experts.int()

    def fused_marlin_moe(
        self,
        *,
        hidden_states: torch.Tensor,
        w1: torch.Tensor,
        w2: torch.Tensor,
        w1_scale: torch.Tensor,
        w2_scale: torch.Tensor,
        gating_output: torch.Tensor,
        topk_weights: torch.Tensor,
        topk_ids: torch.Tensor,
        g_idx1: torch.Tensor,
        g_idx2: torch.Tensor,
        sort_indices1: torch.Tensor,
        sort_indices2: torch.Tensor,
        num_bits: int,
        is_k_full: bool,
    ) -> torch.Tensor:
        assert hidden_states.dtype == w1_scale.dtype == w2_scale.dtype == torch.float16
        assert hidden_states.shape[1] == w1.shape[1] * TILE == w2_scale.shape[2]
        assert w1_scale.shape[2] == 2 * w2.shape[1] * TILE
        assert w1.shape[0] == w2.shape[0] == gating_output.shape[1]
        assert all(part.numel() == 0 for part in (g_idx1, g_idx2, sort_indices1, sort_indices2))
        assert is_k_full
        self.products += 1
        out = torch.zeros_like(hidden_states, dtype=torch.float32)
        for expert in range(w1.shape[0]):
            share = (topk_weights * (topk_ids == expert)).sum(-1, keepdim=True)
            gate, up = (hidden_states.float() @ dequantized(w1[expert], w1_scale[expert], num_bits)).chunk(2, -1)
            out += share * ((torch.nn.functional.silu(gate) * up) @ dequantized(w2[expert], w2_scale[expert], num_bits))
        return out.half()


def dequantized(words: torch.Tensor, permuted_scales: torch.Tensor, bits: int) -> torch.Tensor:
    size_k, size_n = words.shape[0] * TILE, permuted_scales.shape[1]
    shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device)
    codes = ((words.reshape(size_n, -1)[:, :, None] >> shifts) & ((1 << bits) - 1)).flatten(1).t()
    scales = undo_permutation(permuted_scales).float()
    return (codes.float() - (1 << (bits - 1))) * scales.repeat_interleave(size_k // scales.shape[0], dim=0)


def permute_scales(scales: torch.Tensor) -> torch.Tensor:
    order = WITHIN_32_COLUMNS if scales.shape[0] == 1 else WITHIN_64_COLUMNS
    return scales.reshape(-1, len(order))[:, order].reshape(scales.shape).contiguous()


def undo_permutation(scales: torch.Tensor) -> torch.Tensor:
    order = WITHIN_32_COLUMNS if scales.shape[0] == 1 else WITHIN_64_COLUMNS
    return scales.reshape(-1, len(order))[:, order.argsort()].reshape(scales.shape)


def put_module(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel look anew for TGI's modules, and check anew."""
    monkeypatch.setattr(marlin, "_checked", set())
    marlin._kernels.cache_clear()
    marlin._permute_scales_function.cache_clear()
