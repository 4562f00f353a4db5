"""One request while the engine works on it."""

import time
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from tgi_autoround.engine.detokenizer import Detokenizer
from tgi_autoround.engine.request import Finish, FinishReason, OnEvent, Output, Request, Token
from tgi_autoround.engine.sampling import Sampler
from tgi_autoround.errors import EngineError

STOP_WINDOW_CHARACTERS = 300


@dataclass(slots=True, eq=False)
class Sequence:
    """A request with its tokens so far. The scheduler sets `slot` and `cached`; the engine adds tokens."""

    request: Request
    on_event: OnEvent
    sampler: Sampler
    detokenizer: Detokenizer
    tokens: list[int]
    slot: int = -1
    cached: int = 0
    """How many of `tokens` have their keys and values in the cache."""
    _tail: str = field(default="")

    @classmethod
    def of(cls, request: Request, on_event: OnEvent, tokenizer: PreTrainedTokenizerBase) -> "Sequence":
        """Return the sequence of a new request. Raises EngineError where it asks for what is not served yet."""
        _check_is_served(request)
        prompt = list(request.prompt_ids)
        return cls(request, on_event, Sampler(request.params), Detokenizer(tokenizer, prompt), prompt)

    @property
    def reserved_tokens(self) -> int:
        """Prompt tokens and all that may be generated."""
        return len(self.request.prompt_ids) + self.request.params.max_new_tokens

    @property
    def generated_tokens(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - len(self.request.prompt_ids)

    @property
    def is_decoding(self) -> bool:
        """Whether only the newest token is missing from the cache."""
        return self.cached >= len(self.request.prompt_ids)

    def add(self, token_id: int, logprob: float, *, is_special: bool, is_eos: bool) -> Output:
        """Append a token and return what the client gets for it, with a Finish if it is the last."""
        self.tokens.append(token_id)
        text = self.detokenizer.add(token_id)
        reason = self._finish_reason(text, is_eos=is_eos)
        return Output(Token(token_id, text, logprob, is_special), self._finish(reason) if reason else None)

    def _finish_reason(self, text: str, *, is_eos: bool) -> FinishReason | None:
        """TGI's order: length, end of text, stop sequences (which must end the text at the end of a token)."""
        params = self.request.params
        if self.generated_tokens >= params.max_new_tokens:
            return FinishReason.LENGTH
        if is_eos:
            return FinishReason.EOS_TOKEN
        if params.stop:
            self._tail = (self._tail + text)[-STOP_WINDOW_CHARACTERS - max(map(len, params.stop)) :]
            if self._tail.endswith(params.stop):
                return FinishReason.STOP_SEQUENCE
        return None

    def _finish(self, reason: FinishReason) -> Finish:
        request = self.request
        return Finish(
            reason=reason,
            generated_text=self.detokenizer.generated_text(),
            generated_tokens=self.generated_tokens,
            queue_s=request.started_at - request.queued_at,
            inference_s=time.perf_counter() - request.started_at,
        )


def _check_is_served(request: Request) -> None:
    params = request.params
    asked = {
        "top_n_tokens": params.top_n_tokens,
        "watermark": params.watermark,
        "grammar": params.grammar,
        "prefill_logprobs": request.prefill_logprobs,
        "adapter": request.adapter,
    }
    for name, value in asked.items():
        if value:
            raise EngineError(f"{name} is not served yet; leave it out")
