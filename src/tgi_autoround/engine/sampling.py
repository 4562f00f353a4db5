"""Logits -> the next token of one sequence, by TGI's rules and in TGI's order.

Source of the order and of what counts as sampling: text_generation_server/utils/tokens.py, TGI 3.3.7.
"""

import torch
from transformers.generation.logits_process import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from tgi_autoround.engine.request import SamplingParams


class FrequencyPenalty(LogitsProcessor):  # type: ignore[misc]
    """Lower a token's score by the penalty times its share of all tokens so far, prompt included, as TGI does."""

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """input_ids int64 [1, tokens], scores [1, vocabulary] -> scores."""
        counts = torch.zeros_like(scores).scatter_add_(1, input_ids, torch.ones_like(input_ids, dtype=scores.dtype))
        return scores - self.penalty * counts / input_ids.shape[1]


class Sampler:
    """The choice of tokens for one sequence, with a random generator of its own."""

    def __init__(self, params: SamplingParams) -> None:
        penalties: list[LogitsProcessor] = []
        if params.repetition_penalty != 1.0:
            penalties.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
        if params.frequency_penalty != 0.0:
            penalties.append(FrequencyPenalty(params.frequency_penalty))
        warpers: list[LogitsProcessor] = []
        if params.temperature != 1.0:
            warpers.append(TemperatureLogitsWarper(params.temperature))
        if params.top_k:
            warpers.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1.0:
            warpers.append(TopPLogitsWarper(params.top_p))
        if params.typical_p < 1.0:
            warpers.append(TypicalLogitsWarper(params.typical_p))
        self._processors = LogitsProcessorList([*penalties, *warpers])
        self._samples = params.do_sample or bool(warpers)
        self._generator = torch.Generator().manual_seed(params.seed)

    @property
    def is_plain_greedy(self) -> bool:
        """Whether the choice is the largest logit, which a whole batch can take at once."""
        return not self._samples and not self._processors

    def choose(self, logits: torch.Tensor, tokens: list[int]) -> tuple[int, float]:
        """Return the next token and its natural log-probability after all processors.

        logits: float32 [vocabulary]; tokens: the prompt and everything generated so far.
        """
        scores = self._processors(torch.tensor([tokens]), logits[None])[0]
        log_probabilities = scores.log_softmax(-1)
        choice = self._sample(log_probabilities) if self._samples else scores.argmax()
        return int(choice), float(log_probabilities[choice])

    def _sample(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """The exponential race: its largest entry is a sample, at the cost of one pass and no sort."""
        noise = torch.empty_like(log_probabilities).exponential_(generator=self._generator)
        return (log_probabilities.exp() / noise).argmax()


def choose_greedy(logits: torch.Tensor) -> list[tuple[int, float]]:
    """Return the largest-logit token and its log-probability for each row of float32 [rows, vocabulary]."""
    best = logits.max(-1)
    log_probabilities = best.values - logits.logsumexp(-1)
    return list(zip(best.indices.tolist(), log_probabilities.tolist(), strict=True))
