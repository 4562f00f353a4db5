"""The decoder as the engine's runner calls a model: any step, kernel by kernel."""

from dataclasses import dataclass

import torch

from tgi_autoround.engine.attention import StepLayout
from tgi_autoround.engine.cuda.decoder import CudaDecoder, Rows
from tgi_autoround.engine.cuda.ops.rotary import RowPlaces


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """logits: [1, rows kept, vocabulary] in the compute dtype"""

    logits: torch.Tensor


class CudaModel:
    """Stands in for a transformers model whose attention is the engine's."""

    def __init__(self, decoder: CudaDecoder, device: torch.device) -> None:
        self._decoder = decoder
        self.device = device

    def __call__(
        self,
        *,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        logits_to_keep: torch.Tensor,
        step: StepLayout,
        use_cache: bool,
    ) -> ModelOutput:
        """input_ids, position_ids: int64 [1, rows]; logits_to_keep: int64, the rows whose logits are wanted."""
        del use_cache
        step.cache.layers_used.update(range(len(step.cache.keys)))
        places = RowPlaces(_slots(step, self.device), position_ids[0].int())
        decoding = step.decode_positions.shape[0]
        rows = Rows(input_ids[0], places, decoding, step.chunks, kept=logits_to_keep)
        return ModelOutput(self._decoder.logits(rows)[None])


def _slots(step: StepLayout, device: torch.device) -> torch.Tensor:
    slots = list(range(step.decode_positions.shape[0]))
    for chunk in step.chunks:
        slots += [chunk.slot] * (chunk.stop - chunk.start)
    return torch.tensor(slots, dtype=torch.int32, device=device)
