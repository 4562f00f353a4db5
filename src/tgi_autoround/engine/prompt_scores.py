"""Log-probabilities of a prompt's own tokens, for requests that ask for them."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows of a step whose logits tell how likely the prompt's tokens `first`, `first + 1` ... were."""

    sequence: Sequence
    first: int
    rows: range


def rows_to_score(plan: Plan) -> list[Scored]:
    """Return, for each part of a prompt whose tokens are to be scored, the rows that precede one of them."""
    scored = []
    offset = len(plan.decoding)
    for chunk in plan.chunks:
        request = chunk.sequence.request
        last = min(chunk.stop, len(request.prompt_ids) - 1)
        if request.prefill_logprobs and last > chunk.start:
            scored.append(Scored(chunk.sequence, chunk.start + 1, range(offset, offset + last - chunk.start)))
        offset += chunk.stop - chunk.start
    return scored


def score(scored: Rows[Scored], logits: torch.Tensor) -> None:
    """Give the sequences their scores. logits: float [all rows of `scored`, vocabulary], in this order."""
    start = 0
    for part in scored:
        tokens = part.sequence.tokens[part.first : part.first + len(part.rows)]
        targets = torch.tensor(tokens, device=logits.device)
        losses = cross_entropy(logits[start : start + len(part.rows)].float(), targets, reduction="none")
        part.sequence.prompt_logprobs[part.first - 1 :] = (-losses).tolist()
        start += len(part.rows)
