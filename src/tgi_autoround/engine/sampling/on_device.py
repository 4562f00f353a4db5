"""The choice where the logits are on a GPU: sorts are cheap there, and moving rows of the vocabulary is not."""

from collections.abc import Sequence

import torch

from tgi_autoround.engine.sampling.choice import Choice, log_share
from tgi_autoround.engine.sampling.sampler import Sampler


def choose_on_device(samplers: Sequence[Sampler], scores: torch.Tensor) -> list[Choice]:
    """Return each row's token. scores: float32 [len(samplers), vocabulary], processed, overwritten."""
    largest = scores.max(-1, keepdim=True).indices
    probabilities = torch.softmax(scores, -1, out=scores)
    if any(sampler.is_truncated for sampler in samplers):
        _truncate(samplers, probabilities)
    if any(sampler.params.typical_p < 1.0 for sampler in samplers):
        _keep_typical(samplers, probabilities)
    # In float64, because the scan of a lone row adds in another order than that of several.
    cumulated = probabilities.cumsum(-1, dtype=torch.float64)
    total = cumulated[:, -1:].contiguous()
    draws = _column(samplers, [sampler.draw() if sampler.samples else 0.0 for sampler in samplers], total) * total
    drawn = torch.searchsorted(cumulated, draws, right=True).clamp_(max=probabilities.shape[1] - 1)
    samples = _column(samplers, [sampler.samples for sampler in samplers], total) > 0
    ids = torch.where(samples, drawn, largest)
    tops = _likeliest([sampler.params.top_n_tokens for sampler in samplers], probabilities, total)
    chosen = torch.cat([ids.double(), probabilities.gather(1, ids).double(), total], dim=1).tolist()
    return [
        Choice(int(token_id), log_share(probability, mass), top)
        for (token_id, probability, mass), top in zip(chosen, tops, strict=True)
    ]


def _column(samplers: Sequence[Sampler], values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device).reshape(len(samplers), 1)


def _truncate(samplers: Sequence[Sampler], probabilities: torch.Tensor) -> None:
    """top_k, then top_p: whatever is less likely than the last token that they keep becomes 0."""
    ordered = probabilities.sort(-1, descending=True).values
    vocabulary = probabilities.shape[1]
    ranks = [min(sampler.params.top_k or vocabulary, vocabulary) for sampler in samplers]
    of_rank = ordered.gather(1, _column(samplers, ranks, ordered).long() - 1)
    ordered.masked_fill_(ordered < of_rank, 0.0)
    cumulated = ordered.cumsum(-1, dtype=torch.float64)
    top_p = _column(samplers, [sampler.params.top_p for sampler in samplers], ordered)
    kept = (cumulated - ordered < top_p * cumulated[:, -1:]).sum(-1, keepdim=True).clamp_(min=1)
    of_nucleus = ordered.gather(1, kept - 1)
    probabilities.masked_fill_(probabilities < torch.where(top_p < 1.0, of_nucleus, of_rank), 0.0)


def _keep_typical(samplers: Sequence[Sampler], probabilities: torch.Tensor) -> None:
    """The tokens whose information is nearest to the entropy, until they hold typical_p; others become 0."""
    shares = probabilities / probabilities.sum(-1, keepdim=True, dtype=torch.float64)
    information = -shares.log()
    distance = (information - (shares * information).nansum(-1, keepdim=True)).abs()
    nearest = distance.sort(-1)
    mass = _column(samplers, [sampler.params.typical_p for sampler in samplers], shares)
    held = shares.gather(1, nearest.indices).cumsum(-1)
    last_kept = (held < mass).sum(-1, keepdim=True).clamp_(max=shares.shape[1] - 1)
    limit = nearest.values.gather(1, last_kept)
    probabilities.masked_fill_((mass < 1.0) & (distance > limit), 0.0)


def _likeliest(
    counts: Sequence[int], probabilities: torch.Tensor, total: torch.Tensor
) -> list[tuple[tuple[int, float], ...]]:
    """For each row its so many likeliest tokens, ties with the last of them included, those of no probability not."""
    most = min(max(counts), probabilities.shape[1])
    if most == 0:
        return [()] * len(counts)
    floors = probabilities.topk(most, -1).values
    found: list[tuple[tuple[int, float], ...]] = [()] * len(counts)
    for row in (row for row, count in enumerate(counts) if count):
        floor = floors[row, min(counts[row], most) - 1].clamp(min=torch.finfo(torch.float32).tiny)
        ids = (probabilities[row] >= floor).nonzero()[:, 0]
        found[row] = tuple(sorted(_pairs(probabilities[row], ids, float(total[row])), key=lambda pair: -pair[1]))
    return found


def _pairs(probabilities: torch.Tensor, ids: torch.Tensor, total: float) -> list[tuple[int, float]]:
    found = zip(ids.tolist(), probabilities[ids].tolist(), strict=True)
    return [(token_id, log_share(probability, total)) for token_id, probability in found]
