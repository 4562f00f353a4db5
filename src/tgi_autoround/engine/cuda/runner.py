"""Steps on a GPU: those that only decode replay a CUDA graph, those with prompts run kernel by kernel."""

from dataclasses import dataclass

import torch

from tgi_autoround.engine.cuda.decoder import CudaDecoder
from tgi_autoround.engine.cuda.graphs import DecodeGraphs, batch_sizes
from tgi_autoround.engine.cuda.model import CudaModel
from tgi_autoround.engine.decoder import DecoderWeights
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.runner import ModelRunner
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class _Decoding:
    """One token of each of some sequences, in the order of their slots from 0."""

    sequences: tuple[Sequence, ...]
    tokens: list[int]
    positions: list[int]


class CudaRunner(ModelRunner):
    """A decoder, the cache that it fills, and its captured decode steps."""

    @torch.inference_mode()
    def __init__(self, weights: DecoderWeights, cache: KVCache, cuda_graphs: tuple[int, ...] | None) -> None:
        device = weights.embedding.device
        decoder = CudaDecoder(weights, cache)
        super().__init__(CudaModel(decoder, device), cache)
        self._graphs = DecodeGraphs(decoder, batch_sizes(cuda_graphs, cache.keys[0].shape[0]), device)
        self._begun: tuple[_Decoding, torch.Tensor] | None = None

    @torch.inference_mode()
    def step(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """Run the decoder once; return the sequences whose next token is due and their logits.

        Logits are [len(sequences), vocabulary] on the GPU, in the compute dtype, and valid until the next step.
        """
        decoding = _Decoding(
            plan.decoding,
            [sequence.tokens[-1] for sequence in plan.decoding],
            [sequence.cached for sequence in plan.decoding],
        )
        logits = self._take_begun(decoding)
        if logits is None:
            if plan.chunks or len(plan.decoding) > self._graphs.largest:
                return super().step(plan)
            logits = self._replay(decoding)
        for sequence in plan.decoding:
            sequence.cached += 1
        if not plan.chunks:
            return list(plan.decoding), logits
        due, of_chunks = super().step(Plan((), plan.chunks))
        return [*plan.decoding, *due], torch.cat([logits, of_chunks])

    @torch.inference_mode()
    def begin(self, sequences: tuple[Sequence, ...], tokens: list[int]) -> None:
        """Start the step that decodes these tokens; it is dropped where the next plan is for something else.

        What it writes to the cache lies past what the sequences hold, so that dropping it needs nothing.
        """
        if len(sequences) <= self._graphs.largest:
            decoding = _Decoding(sequences, tokens, [sequence.cached for sequence in sequences])
            self._begun = decoding, self._replay(decoding)

    def _take_begun(self, decoding: _Decoding) -> torch.Tensor | None:
        begun, self._begun = self._begun, None
        return begun[1] if begun is not None and begun[0] == decoding else None

    def _replay(self, decoding: _Decoding) -> torch.Tensor:
        return self._graphs.replay(decoding.tokens, decoding.positions)
