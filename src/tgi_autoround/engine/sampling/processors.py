"""What changes the scores of a batch before its tokens are drawn."""

from collections.abc import Sequence

import numpy as np
import torch

from tgi_autoround.engine.sampling.sampler import Sampler
from tgi_autoround.engine.sampling.watermark import apply_watermark


def process(samplers: Sequence[Sampler], scores: torch.Tensor) -> None:
    """Watermark, penalties, grammar, temperature, in this order, in place.

    scores: float32 [len(samplers), vocabulary], contiguous, on any device
    """
    for sampler, row in zip(samplers, scores, strict=True):
        if sampler.params.watermark is not None:
            apply_watermark(sampler.params.watermark, sampler.previous_token, row)
    _penalize(samplers, scores)
    for sampler, row in zip(samplers, scores, strict=True):
        if sampler.grammar is not None:
            sampler.grammar.rule_out(row)
    if any(sampler.params.temperature != 1.0 for sampler in samplers):
        scores /= torch.tensor([sampler.params.temperature for sampler in samplers], device=scores.device)[:, None]


def _penalize(samplers: Sequence[Sampler], scores: torch.Tensor) -> None:
    """Repetition, then frequency penalty: the latter by a token's share of all tokens, as TGI does."""
    penalized = [(row, sampler) for row, sampler in enumerate(samplers) if sampler.has_penalty]
    if not penalized:
        return
    lengths = [len(sampler.history.ids) for _row, sampler in penalized]
    params = [sampler.params for _row, sampler in penalized]
    repetition = np.repeat(np.array([each.repetition_penalty for each in params], np.float32), lengths)
    frequency = np.repeat(np.array([each.frequency_penalty for each in params], np.float32), lengths)
    shares = np.concatenate([sampler.history.shares for _row, sampler in penalized])
    places = np.concatenate([sampler.history.ids + row * scores.shape[1] for row, sampler in penalized])
    at, factor, lowered = (
        torch.from_numpy(each).to(scores.device) for each in (places, repetition, frequency * shares)
    )
    flat = scores.view(-1)
    seen = flat[at]
    flat[at] = torch.where(seen < 0, seen * factor, seen / factor) - lowered
