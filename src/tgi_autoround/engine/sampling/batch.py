"""One choice for the whole batch, in a few passes over its logits."""

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from tgi_autoround.engine.sampling.choice import Choice, chosen
from tgi_autoround.engine.sampling.on_device import choose_on_device
from tgi_autoround.engine.sampling.processors import process
from tgi_autoround.engine.sampling.sampler import Sampler
from tgi_autoround.engine.sampling.warpers import candidates

_HAS_TRITON = find_spec("triton") is not None


class Chooser:
    """Chooses for batch after batch in memory that it keeps: taking megabytes anew costs more than the work in them."""

    def __init__(self) -> None:
        self._scores = torch.empty(0, 0)
        self._cumulated = torch.empty(0, 0)

    @torch.inference_mode()
    def choose(self, samplers: Sequence[Sampler], logits: torch.Tensor) -> list[Choice]:
        """Return each sequence's next token. logits: float [len(samplers), vocabulary], on any device.

        All is computed where the logits lie, in float32 where it is more than greedy. A row whose logits are not
        numbers, or whose grammar allows no token, has a log-probability that is not finite.
        """
        shaped = [row for row, sampler in enumerate(samplers) if not sampler.is_plain_greedy]
        if not shaped:
            return _greedy(logits)
        if len(shaped) == len(samplers):
            return self._shaped(samplers, logits)
        choices = _greedy(logits)
        rows = logits[torch.tensor(shaped, device=logits.device)]
        for row, choice in zip(shaped, self._shaped([samplers[row] for row in shaped], rows), strict=True):
            choices[row] = choice
        return choices

    def _shaped(self, samplers: Sequence[Sampler], logits: torch.Tensor) -> list[Choice]:
        scores = self._memory(logits).copy_(logits)
        process(samplers, scores)
        if scores.device.type != "cpu":
            return choose_on_device(samplers, scores)
        greedy = [row for row, sampler in enumerate(samplers) if not sampler.samples]
        picks = dict(zip(greedy, _rows(scores, greedy).max(-1).indices.tolist(), strict=True))
        probabilities = torch.softmax(scores, -1, out=scores)
        untruncated = [row for row, sampler in enumerate(samplers) if sampler.samples and not sampler.is_truncated]
        drawn = self._draw([samplers[row] for row in untruncated], _rows(probabilities, untruncated))
        picks |= zip(untruncated, drawn, strict=True)
        return [
            _report(sampler, picks.get(row), shares)
            for row, (sampler, shares) in enumerate(zip(samplers, probabilities.numpy(), strict=True))
        ]

    def _memory(self, logits: torch.Tensor) -> torch.Tensor:
        rows, vocabulary = logits.shape
        if rows > self._scores.shape[0] or vocabulary != self._scores.shape[1]:
            self._scores = torch.empty(rows, vocabulary, device=logits.device)
        return self._scores[:rows]

    def _draw(self, samplers: Sequence[Sampler], probabilities: torch.Tensor) -> list[int]:
        """Return, for each row of probabilities, the token at which their cumulated sum passes a random number."""
        if self._cumulated.shape != self._scores.shape:
            self._cumulated = torch.empty_like(self._scores)
        cumulated = torch.cumsum(probabilities, -1, out=self._cumulated[: len(samplers)])
        total = cumulated[:, -1:].contiguous()
        draws = torch.tensor([[sampler.draw()] for sampler in samplers]).reshape(-1, 1) * total
        # Rounding may lift a product to the total itself, which no token would pass.
        draws = draws.minimum(total.nextafter(torch.zeros_like(total)))
        ids: list[int] = torch.searchsorted(cumulated, draws, right=True)[:, 0].tolist()
        return ids


def _greedy(logits: torch.Tensor) -> list[Choice]:
    if logits.is_cuda and _HAS_TRITON:
        from tgi_autoround.engine.cuda.ops.greedy import choose_greedy

        return [Choice(*pair) for pair in zip(*choose_greedy(logits), strict=True)]
    logits = logits.float()
    best = logits.max(-1)
    log_probabilities = best.values - logits.logsumexp(-1)
    return [Choice(*pair) for pair in zip(best.indices.tolist(), log_probabilities.tolist(), strict=True)]


def _rows(matrix: torch.Tensor, rows: list[int]) -> torch.Tensor:
    """Indexing copies, which all rows need not."""
    return matrix if len(rows) == len(matrix) else matrix[rows]


def _report(sampler: Sampler, token_id: int | None, probabilities: NDArray[np.float32]) -> Choice:
    """The row's choice, which is yet to be drawn where truncation leaves few tokens."""
    if math.isnan(probabilities[0]):
        return Choice(0, math.nan)
    if token_id is None:
        return _draw_from_few(sampler, probabilities)
    return chosen(token_id, probabilities, 1.0, sampler.params.top_n_tokens)


def _draw_from_few(sampler: Sampler, probabilities: NDArray[np.float32]) -> Choice:
    few = candidates(probabilities, sampler.params)
    cumulated = few.probabilities.cumsum(dtype=np.float64)
    total = float(cumulated[-1])
    index = int(np.searchsorted(cumulated, sampler.draw() * total, side="right"))
    choice = chosen(min(index, len(cumulated) - 1), few.probabilities, total, sampler.params.top_n_tokens)
    top = tuple((int(few.ids[at]), logprob) for at, logprob in choice.top)
    return Choice(int(few.ids[choice.token_id]), choice.logprob, top)
