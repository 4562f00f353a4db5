"""Doubles of what the Marlin kernel of TGI's image consists of: same functions and meaning, a layout of their own."""

from types import SimpleNamespace

import torch

TILE = 16
WITHIN_64_COLUMNS = torch.arange(64).view(8, 8).t().flatten()
WITHIN_32_COLUMNS = torch.arange(32).flip(0)


class Quantization:
    """The kernels-community/quantization module: repack and multiply, each checking what it is given."""

    scalar_types = SimpleNamespace(uint4b8=SimpleNamespace(bits=4, bias=8), uint8b128=SimpleNamespace(bits=8, bias=128))

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
        codes = self.unpack(b_q_weight.reshape(size_n, -1), b_q_type.bits)
        scales = undo_permutation(b_scales).float()
        weight = (codes.float() - b_q_type.bias) * scales.repeat_interleave(size_k // scales.shape[0], dim=0)
        return (a.float() @ weight).to(a.dtype)

    def unpack(self, words: torch.Tensor, bits: int) -> torch.Tensor:
        shifts = torch.arange(0, 32, bits, dtype=torch.int32)
        return ((words[:, :, None] >> shifts) & ((1 << bits) - 1)).flatten(1).t()


def permute_scales(scales: torch.Tensor) -> torch.Tensor:
    order = WITHIN_32_COLUMNS if scales.shape[0] == 1 else WITHIN_64_COLUMNS
    return scales.reshape(-1, len(order))[:, order].reshape(scales.shape).contiguous()


def undo_permutation(scales: torch.Tensor) -> torch.Tensor:
    order = WITHIN_32_COLUMNS if scales.shape[0] == 1 else WITHIN_64_COLUMNS
    return scales.reshape(-1, len(order))[:, order.argsort()].reshape(scales.shape)
