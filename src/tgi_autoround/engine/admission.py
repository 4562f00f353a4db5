"""What the engine takes: a request that would fail in the model would fail everyone in its batch."""

from dataclasses import dataclass

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.request import Request
from tgi_autoround.errors import EngineError


@dataclass(frozen=True, slots=True)
class Admission:
    """The lengths, token ids below `vocabulary_size` and LoRA adapters that the model has room for."""

    limits: EngineLimits
    vocabulary_size: int
    adapters: frozenset[str]

    def check(self, request: Request) -> None:
        """Raise EngineError where the model cannot run a request."""
        tokens = len(request.prompt_ids) + request.params.max_new_tokens
        if not request.prompt_ids or request.params.max_new_tokens < 1 or tokens > self.limits.max_total_tokens:
            raise EngineError(
                f"a prompt of {len(request.prompt_ids)} tokens with max_new_tokens {request.params.max_new_tokens} "
                f"does not fit max_total_tokens {self.limits.max_total_tokens}"
            )
        for token_id in (min(request.prompt_ids), max(request.prompt_ids)):
            if not 0 <= token_id < self.vocabulary_size:
                raise EngineError(
                    f"the prompt holds token {token_id}, but the model embeds tokens 0 to {self.vocabulary_size - 1}; "
                    "the tokenizer has tokens that the model was not made for"
                )
        if request.adapter is not None and request.adapter not in self.adapters:
            raise EngineError(f"no LoRA adapter {request.adapter!r} is loaded; --lora-adapters names them at start")
