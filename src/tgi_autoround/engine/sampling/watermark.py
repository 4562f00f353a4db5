"""A watermark in the choice of tokens: J. Kirchenbauer et al., "A Watermark for Large Language Models", 2023.

The algorithm and its constants are those of TGI 3.3.7, text_generation_server/utils/watermark.py, which takes them
from the paper's authors (https://arxiv.org/abs/2301.10226, Apache License 2.0), so that their detectors work here.
"""

import torch

from tgi_autoround.engine.request import Watermark

HASH_KEY = 15485863
"""A large prime: with the preceding token it seeds the choice of the favoured tokens."""


def favoured_tokens(watermark: Watermark, previous_token: int, vocabulary: int) -> torch.Tensor:
    """Return the ids, int64 [gamma * vocabulary], that are favoured after `previous_token`."""
    generator = torch.Generator().manual_seed(HASH_KEY * previous_token)
    return torch.randperm(vocabulary, generator=generator)[: int(vocabulary * watermark.gamma)]


def apply_watermark(watermark: Watermark, previous_token: int, scores: torch.Tensor) -> None:
    """Raise the favoured tokens' scores, float32 [vocabulary], in place."""
    favoured = favoured_tokens(watermark, previous_token, scores.shape[-1])
    scores[favoured.to(scores.device)] += watermark.delta
