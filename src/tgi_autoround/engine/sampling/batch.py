"""One choice for the whole batch, in a few passes over its logits."""

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from tgi_autoround.engine.sampling.choice import Choice, chosen
from tgi_autoround.engine.sampling.sampler import Sampler
from tgi_autoround.engine.sampling.warpers import candidates
from tgi_autoround.engine.sampling.watermark import apply_watermark


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
    if logits.is_cuda and find_spec("triton") is not None:
        from tgi_autoround.engine.cuda.ops.greedy import choose_greedy

        return [Choice(*pair) for pair in zip(*choose_greedy(logits), strict=True)]
    logits = logits.float()
    best = logits.max(-1)
    log_probabilities = best.values - logits.logsumexp(-1)
    return [Choice(*pair) for pair in zip(best.indices.tolist(), log_probabilities.tolist(), strict=True)]


def _shaped(samplers: Sequence[Sampler], scores: torch.Tensor) -> list[Choice]:
    """scores: float32 [len(samplers), vocabulary] on the CPU, overwritten."""
    _process(samplers, scores)
    probabilities = scores.softmax(-1)
    untruncated = [row for row, sampler in enumerate(samplers) if sampler.samples and not sampler.is_truncated]
    drawn = _draw([samplers[row] for row in untruncated], _rows(probabilities, untruncated))
    picks = dict(zip(untruncated, drawn, strict=True))
    greedy = [row for row, sampler in enumerate(samplers) if not sampler.samples]
    picks |= zip(greedy, _rows(scores, greedy).max(-1).indices.tolist(), strict=True)
    choices = []
    for row, (sampler, shares) in enumerate(zip(samplers, probabilities.numpy(), strict=True)):
        if math.isnan(shares[0]):
            choices.append(Choice(0, math.nan))
        elif sampler.is_truncated:
            choices.append(_draw_from_few(sampler, shares))
        else:
            choices.append(chosen(picks[row], shares, 1.0, sampler.params.top_n_tokens))
    return choices


def _process(samplers: Sequence[Sampler], scores: torch.Tensor) -> None:
    """Watermark, penalties, grammar, temperature, in this order, in place."""
    rows = scores.numpy()
    for sampler, row in zip(samplers, scores, strict=True):
        if sampler.params.watermark is not None:
            apply_watermark(sampler.params.watermark, sampler.previous_token, row)
    _penalize(samplers, rows)
    for sampler, row in zip(samplers, rows, strict=True):
        if sampler.grammar is not None:
            sampler.grammar.rule_out(row)
    if any(sampler.params.temperature != 1.0 for sampler in samplers):
        scores /= torch.tensor([sampler.params.temperature for sampler in samplers])[:, None]


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


def _rows(matrix: torch.Tensor, rows: list[int]) -> torch.Tensor:
    """Indexing copies, which all rows need not."""
    return matrix if len(rows) == len(matrix) else matrix[rows]


def _draw(samplers: Sequence[Sampler], probabilities: torch.Tensor) -> list[int]:
    """Return each row's token at which the cumulated probabilities pass a random number."""
    cumulated = probabilities.cumsum(-1)
    total = cumulated[:, -1:].contiguous()
    draws = torch.tensor([[sampler.draw()] for sampler in samplers]).reshape(-1, 1) * total
    # Rounding may lift a product to the total itself, which no token would pass.
    draws = draws.minimum(total.nextafter(torch.zeros_like(total)))
    ids: list[int] = torch.searchsorted(cumulated, draws, right=True)[:, 0].tolist()
    return ids


def _draw_from_few(sampler: Sampler, probabilities: NDArray[np.float32]) -> Choice:
    """As `_draw`, from what truncation leaves of a row."""
    few = candidates(probabilities, sampler.params)
    cumulated = few.probabilities.cumsum(dtype=np.float64)
    total = float(cumulated[-1])
    index = int(np.searchsorted(cumulated, sampler.draw() * total, side="right"))
    choice = chosen(min(index, len(cumulated) - 1), few.probabilities, total, sampler.params.top_n_tokens)
    top = tuple((int(few.ids[at]), logprob) for at, logprob in choice.top)
    return Choice(int(few.ids[choice.token_id]), choice.logprob, top)
