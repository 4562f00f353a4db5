"""What one sequence's choices depend on."""

import random

from tgi_autoround.engine.grammar import GrammarState
from tgi_autoround.engine.request import SamplingParams
from tgi_autoround.engine.sampling.history import TokenHistory


class Sampler:
    """A sequence's parameters, random numbers, penalized tokens and place in its grammar."""

    def __init__(self, params: SamplingParams, prompt_ids: list[int], grammar: GrammarState | None = None) -> None:
        self.params = params
        self.grammar = grammar
        self.previous_token = prompt_ids[-1] if prompt_ids else 0
        self.has_penalty = params.repetition_penalty != 1.0 or params.frequency_penalty != 0.0
        self.history = TokenHistory(prompt_ids if self.has_penalty else ())
        self.is_truncated = params.top_k > 0 or params.top_p < 1.0 or params.typical_p < 1.0
        self.samples = params.do_sample or params.temperature != 1.0 or self.is_truncated
        """Whether chance takes part. As in TGI, a warper that is on turns it on."""
        changes_scores = self.has_penalty or params.watermark is not None or grammar is not None
        self.is_plain_greedy = not (self.samples or changes_scores or params.top_n_tokens)
        """Whether the choice is the largest logit and nothing else is asked."""
        self._random = random.Random(params.seed)

    def draw(self) -> float:
        """Return the next random number of [0, 1)."""
        return self._random.random()

    def accept(self, token_id: int) -> None:
        """Take note of the chosen token."""
        self.previous_token = token_id
        if self.has_penalty:
            self.history.add(token_id)
        if self.grammar is not None:
            self.grammar.accept(token_id)
