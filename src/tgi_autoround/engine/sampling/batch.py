"""One choice for the whole batch, in a few passes over its logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tgi_autoround.engine.sampling.sampler import Sampler
from tgi_autoround.engine.sampling.warpers import truncate
from tgi_autoround.engine.sampling.watermark import apply_watermark


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token with its natural log-probability after all processing, and the likeliest tokens if asked for.

    `top` holds (id, log-probability), the likeliest first; ties with the last of `top_n_tokens` are in it, tokens
    that were ruled out are not.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def choose(samplers: Sequence[Sampler], logits: torch.Tensor) -> list[Choice]:
    """Return each sequence's next token. logits: float [len(samplers), vocabulary], on any device, left as they are.

    Greedy choices are taken where the logits lie; what needs more is computed on the CPU in float32. A row whose
    logits are not numbers, or whose grammar allows no token, comes back with a log-probability that is not finite.
    """
    shaped = [row for row, sampler in enumerate(samplers) if not sampler.is_plain_greedy]
    if not shaped:
        return _greedy(logits)
    if len(shaped) == len(samplers):
        return _shaped(samplers, logits.to("cpu", torch.float32, copy=True))
    choices = _greedy(logits)
    rows = logits[torch.tensor(shaped, device=logits.device)].to("cpu", torch.float32)
    for row, choice in zip(shaped, _shaped([samplers[row] for row in shaped], rows), strict=True):
        choices[row] = choice
    return choices


def _greedy(logits: torch.Tensor) -> list[Choice]:
    best = logits.max(-1)
    log_probabilities = best.values - logits.logsumexp(-1)
    return [Choice(*pair) for pair in zip(best.indices.tolist(), log_probabilities.tolist(), strict=True)]


def _shaped(samplers: Sequence[Sampler], scores: torch.Tensor) -> list[Choice]:
    """scores: float32 [len(samplers), vocabulary] on the CPU, overwritten."""
    for sampler, row in zip(samplers, scores, strict=True):
        if sampler.params.watermark is not None:
            apply_watermark(sampler.params.watermark, sampler.previous_token, row)
    _penalize(samplers, scores.numpy())
    for sampler, row in zip(samplers, scores.numpy(), strict=True):
        if sampler.grammar is not None:
            sampler.grammar.rule_out(row)
    if any(sampler.params.temperature != 1.0 for sampler in samplers):
        scores /= torch.tensor([sampler.params.temperature for sampler in samplers])[:, None]
    probabilities = scores.softmax(-1)
    for sampler, row in zip(samplers, probabilities.numpy(), strict=True):
        if sampler.is_truncated and not math.isnan(row[0]):
            truncate(row, sampler.params)
    ids, totals = _draw(samplers, probabilities)
    greedy = torch.tensor([not sampler.samples for sampler in samplers])
    if greedy.any():
        ids[greedy] = scores[greedy].max(-1).indices
    return [
        _report(sampler, token_id, row, total)
        for sampler, token_id, row, total in zip(samplers, ids.tolist(), probabilities.numpy(), totals, strict=True)
    ]


def _penalize(samplers: Sequence[Sampler], scores: NDArray[np.float32]) -> None:
    """Repetition, then frequency penalty: the latter by a token's share of all tokens, as TGI does."""
    penalized = [(row, sampler) for row, sampler in enumerate(samplers) if sampler.has_penalty]
    if not penalized:
        return
    lengths = [len(sampler.history.ids) for _row, sampler in penalized]
    at = np.concatenate([sampler.history.ids + row * scores.shape[1] for row, sampler in penalized])
    shares = np.concatenate([sampler.history.shares for _row, sampler in penalized])
    params = [sampler.params for _row, sampler in penalized]
    repetition = np.repeat(np.array([each.repetition_penalty for each in params], np.float32), lengths)
    frequency = np.repeat(np.array([each.frequency_penalty for each in params], np.float32), lengths)
    flat = scores.reshape(-1)
    seen = flat[at]
    flat[at] = np.where(seen < 0, seen * repetition, seen / repetition) - frequency * shares


def _draw(samplers: Sequence[Sampler], probabilities: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Return the tokens at which the cumulated probabilities pass a random number, and the sum of each row.

    probabilities: float32 [len(samplers), vocabulary], whose rows need not sum to 1.
    """
    cumulated = probabilities.cumsum(-1)
    total = cumulated[:, -1:].contiguous()
    draws = torch.tensor([[sampler.draw() if sampler.samples else 0.0] for sampler in samplers]) * total
    # Rounding may lift a product to the total itself, which no token would pass.
    draws = draws.minimum(total.nextafter(torch.zeros_like(total)))
    ids = torch.searchsorted(cumulated, draws, right=True).clamp_(max=probabilities.shape[1] - 1)
    return ids[:, 0], total[:, 0].tolist()


def _report(sampler: Sampler, token_id: int, probabilities: NDArray[np.float32], total: float) -> Choice:
    """The row's choice. `total` is what the probabilities of the row sum to."""
    probability = float(probabilities[token_id])
    logprob = math.log(probability / total) if probability > 0 else -math.inf
    return Choice(token_id, logprob, _top(sampler.params.top_n_tokens, probabilities, total))


def _top(count: int, probabilities: NDArray[np.float32], total: float) -> tuple[tuple[int, float], ...]:
    if count == 0:
        return ()
    count = min(count, probabilities.size)
    floor = max(np.partition(probabilities, -count)[-count], np.finfo(np.float32).tiny)
    ids = np.flatnonzero(probabilities >= floor)
    ids = ids[np.argsort(-probabilities[ids], kind="stable")]
    return tuple((int(token_id), math.log(float(probabilities[token_id]) / total)) for token_id in ids)
