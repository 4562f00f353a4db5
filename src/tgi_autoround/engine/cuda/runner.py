"""Steps on a GPU: those that only decode replay a CUDA graph, those with prompts run kernel by kernel."""

import torch

from tgi_autoround.engine.cuda.decoder import CudaDecoder
from tgi_autoround.engine.cuda.graphs import DecodeGraphs, batch_sizes
from tgi_autoround.engine.cuda.model import CudaModel
from tgi_autoround.engine.decoder import DecoderWeights
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.runner import ModelRunner
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence


class CudaRunner(ModelRunner):
    """A decoder, the cache that it fills, and its captured decode steps."""

    @torch.inference_mode()
    def __init__(self, weights: DecoderWeights, cache: KVCache, cuda_graphs: tuple[int, ...] | None) -> None:
        device = weights.embedding.device
        decoder = CudaDecoder(weights, cache)
        super().__init__(CudaModel(decoder, device), cache)
        self._graphs = DecodeGraphs(decoder, batch_sizes(cuda_graphs, cache.keys[0].shape[0]), device)

    @torch.inference_mode()
    def step(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """Run the decoder once; return the sequences whose next token is due and their logits.

        Logits are [len(sequences), vocabulary] on the GPU, in the compute dtype, and valid until the next step.
        """
        if plan.chunks or len(plan.decoding) > self._graphs.largest:
            return super().step(plan)
        tokens = [sequence.tokens[-1] for sequence in plan.decoding]
        logits = self._graphs.replay(tokens, [sequence.cached for sequence in plan.decoding])
        for sequence in plan.decoding:
            sequence.cached += 1
        return list(plan.decoding), logits
