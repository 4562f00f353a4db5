"""Steps on a GPU: those that only decode replay a CUDA graph, those with prompts run kernel by kernel."""

from dataclasses import dataclass

import torch

from tgi_autoround.engine.cuda.decoder import CudaDecoder
from tgi_autoround.engine.cuda.graphs import DecodeGraphs, StartedStep, batch_sizes
from tgi_autoround.engine.cuda.model import CudaModel
from tgi_autoround.engine.decoder import DecoderWeights
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.runner import ModelRunner
from tgi_autoround.engine.sampling import Choice
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class _PlannedRows:
    """The rows of a started step that a plan asks for."""

    step: StartedStep
    rows: list[int]

    @property
    def are_all(self) -> bool:
        return self.rows == list(range(self.step.batch))

    @property
    def logits(self) -> torch.Tensor:
        return self.step.logits if self.are_all else self.step.logits[self.rows]

    def choices(self) -> list[Choice]:
        choices = self.step.choices()
        return [Choice(*choices[row]) for row in self.rows]


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A step that was started before its plan, its sequences, and how many of their tokens were cached by then."""

    step: StartedStep
    sequences: tuple[Sequence, ...]
    cached: list[int]

    def rows_of(self, sequences: tuple[Sequence, ...]) -> _PlannedRows | None:
        """Return what a plan decodes, or None where it decodes something else."""
        row_of = {sequence: row for row, sequence in enumerate(self.sequences) if self.cached[row] == sequence.cached}
        if not sequences or any(sequence not in row_of for sequence in sequences):
            return None
        return _PlannedRows(self.step, [row_of[sequence] for sequence in sequences])


class CudaRunner(ModelRunner):
    """A decoder, the cache that it fills, and its captured decode steps.

    Where all sequences choose greedily, the step after a plan's is started with it, from tokens that never leave the
    GPU. Of its results those are taken that the next plan asks for; slots may move meanwhile, as all that is done to
    the cache comes after the step.
    """

    @torch.inference_mode()
    def __init__(self, weights: DecoderWeights, cache: KVCache, cuda_graphs: tuple[int, ...] | None) -> None:
        device = weights.embedding.device
        decoder = CudaDecoder(weights, cache)
        super().__init__(CudaModel(decoder, device), cache)
        self._graphs = DecodeGraphs(decoder, batch_sizes(cuda_graphs, cache.keys[0].shape[0]), device)
        self._ahead: _Ahead | None = None
        self._greedy: _PlannedRows | None = None

    @torch.inference_mode()
    def step(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """Run the decoder once; return the sequences whose next token is due and their logits.

        Logits are [len(sequences), vocabulary] on the GPU, in the compute dtype, and valid until the next step; where
        there are `greedy_choices`, they may be a later step's already.
        """
        self._greedy = None
        ahead, self._ahead = self._ahead, None
        started = ahead.rows_of(plan.decoding) if ahead is not None else None
        if started is None:
            if plan.chunks or len(plan.decoding) > self._graphs.largest:
                return super().step(plan)
            started = self._start(plan.decoding)
        for sequence in plan.decoding:
            sequence.cached += 1
        if plan.chunks:
            due, of_chunks = super().step(Plan((), plan.chunks))
            return [*plan.decoding, *due], torch.cat([started.logits, of_chunks])
        if all(sequence.sampler.is_plain_greedy for sequence in plan.decoding):
            self._greedy = started
            if started.are_all and all(map(_has_another_step, plan.decoding)):
                self._run_ahead(started.step, plan.decoding)
        return list(plan.decoding), started.logits

    def greedy_choices(self) -> list[Choice] | None:
        """Return what the last step's sequences choose, where the step has chosen for them."""
        return self._greedy.choices() if self._greedy is not None else None

    def _start(self, sequences: tuple[Sequence, ...]) -> _PlannedRows:
        tokens, positions = [sequence.tokens[-1] for sequence in sequences], [sequence.cached for sequence in sequences]
        return _PlannedRows(self._graphs.start(tokens, positions), list(range(len(sequences))))

    def _run_ahead(self, step: StartedStep, sequences: tuple[Sequence, ...]) -> None:
        self._ahead = _Ahead(self._graphs.follow(step), sequences, [sequence.cached for sequence in sequences])


def _has_another_step(sequence: Sequence) -> bool:
    """Whether the step that now runs for a sequence is not the last one that its parameters allow."""
    return sequence.generated_tokens + 1 < sequence.request.params.max_new_tokens
