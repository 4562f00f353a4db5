"""What a loader must be, and give, for TGI to run experts in one kernel."""

from dataclasses import dataclass

import torch

from text_generation_server.utils.weights import Weight, WeightsLoader


class GPTQMarlinWeightsLoader(WeightsLoader):
    def __init__(self, *, bits, desc_act, groupsize, quant_method, quantize, sym):
        self.bits, self.groupsize, self.desc_act, self.sym = bits, groupsize, desc_act, sym
        self.quant_method, self.quantize = quant_method, quantize


@dataclass
class GPTQMarlinWeight(Weight):
    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor
    g_idx: torch.Tensor
    perm: torch.Tensor
    bits: int
    is_full_k: bool

    def get_linear(self, bias):
        raise NotImplementedError
