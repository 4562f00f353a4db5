"""A linear with the products of several adapters, each for the rows of its requests."""

from collections.abc import Mapping

import torch
from torch import nn

from tgi_autoround.engine.lora.files import LowRank
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.errors import UnsupportedError


class Adapters:
    """The adapters of a model, and which rows of the step being computed belong to which."""

    def __init__(self, ids: frozenset[str], device: torch.device) -> None:
        self.ids = ids
        self.rows: dict[str, torch.Tensor] = {}
        """int64 [rows of the adapter]; an adapter that no row belongs to is missing."""
        self.step_rows = 0
        self._device = device

    def assign(self, plan: Plan) -> None:
        """Take note of whose rows the next step computes: one for a sequence that decodes, its tokens for a prompt."""
        if not self.ids:
            return
        rows: dict[str, list[int]] = {}
        offset = 0
        spans = [(sequence, 1) for sequence in plan.decoding]
        spans += [(chunk.sequence, chunk.stop - chunk.start) for chunk in plan.chunks]
        for sequence, length in spans:
            if sequence.request.adapter is not None:
                rows.setdefault(sequence.request.adapter, []).extend(range(offset, offset + length))
            offset += length
        self.step_rows = offset
        self.rows = {adapter: torch.tensor(indices, device=self._device) for adapter, indices in rows.items()}


class AdaptedLinear(nn.Module):
    """A linear of the model, and what each adapter adds to its output."""

    def __init__(self, base: nn.Module, products: Mapping[str, LowRank], adapters: Adapters) -> None:
        super().__init__()
        self.base = base
        self._products = products
        self._adapters = adapters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [..., in_features] -> [..., out_features], of all rows of the step."""
        output: torch.Tensor = self.base(x)
        if self._adapters.rows and x.numel() != self._adapters.step_rows * x.shape[-1]:
            raise UnsupportedError("an adapter changes a layer that does not see all tokens of a step")
        flat, flat_output = x.reshape(-1, x.shape[-1]), output.view(-1, output.shape[-1])
        for adapter, rows in self._adapters.rows.items():
            if adapter in self._products:
                flat_output.index_add_(0, rows, self._products[adapter](flat[rows]))
        return output
