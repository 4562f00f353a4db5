"""The one definition of perplexity and bits per byte that the model card and the quality table use."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

WINDOW_TOKENS = 1024


@dataclass(frozen=True)
class Score:
    """Over `tokens` predicted tokens: exp of the mean loss, and the summed loss in bits by UTF-8 byte of text."""

    perplexity: float
    bits_per_byte: float
    tokens: int


@torch.inference_mode()
def score(model: Any, tokenizer: Any, texts: Sequence[str]) -> Score:
    """Scores a causal model on texts joined into one stream, each closed by the end-of-sequence token.

    The stream is cut into windows of `WINDOW_TOKENS` without shared context; every token but the first is predicted
    once. The end tokens count as tokens to predict, not as bytes of text.
    """
    encoded = tokenizer([text + tokenizer.eos_token for text in texts])["input_ids"]
    stream = torch.tensor([token for ids in encoded for token in ids], device=model.device)
    loss_nats = 0.0
    for start in range(0, len(stream) - 1, WINDOW_TOKENS):
        window = stream[start : start + WINDOW_TOKENS + 1]
        logits = model(window[None, :-1]).logits[0].float()
        loss_nats += functional.cross_entropy(logits, window[1:], reduction="sum").item()
    tokens = len(stream) - 1
    text_bytes = sum(len(text.encode()) for text in texts)
    return Score(math.exp(loss_nats / tokens), loss_nats / math.log(2) / text_bytes, tokens)
