"""One request while the engine works on it."""

import time
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from tgi_autoround.engine.detokenizer import Detokenizer
from tgi_autoround.engine.grammar import GrammarState
from tgi_autoround.engine.request import Finish, FinishReason, OnEvent, Output, PrefillToken, Request, Token
from tgi_autoround.engine.sampling import Choice, Sampler
from tgi_autoround.engine.token_texts import TokenTexts

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
    prefill_tokens: int = 0
    """How many have to be there before it decodes: the prompt, after a preemption also what it had generated."""
    arrival: int = 0
    """Its place in the order in which sequences came."""
    block_keys: list[bytes] = field(default_factory=list)
    """Keys of its first blocks of tokens in the prefix cache."""
    prompt_logprobs: list[float] = field(default_factory=list)
    """Of the prompt's tokens from the second on, as far as they have been computed, where the request asks."""
    _tail: str = field(default="")

    @classmethod
    def of(
        cls,
        request: Request,
        on_event: OnEvent,
        tokenizer: PreTrainedTokenizerBase,
        grammar: GrammarState | None = None,
    ) -> "Sequence":
        """Return the sequence of a new request, at the start of the grammar that its parameters name."""
        prompt = list(request.prompt_ids)
        sampler = Sampler(request.params, prompt, grammar)
        return cls(request, on_event, sampler, Detokenizer(tokenizer, prompt), prompt)

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
        return self.cached >= self.prefill_tokens

    @property
    def held_tokens(self) -> int:
        """Tokens that its slot holds after the next step, all those counted that have to be there before it decodes."""
        return max(self.prefill_tokens, self.cached + 1)

    def restart(self) -> None:
        """Have all tokens computed, again if they were: it has no slot any more."""
        self.slot, self.cached, self.prefill_tokens = -1, 0, len(self.tokens)

    @property
    def why_no_token(self) -> str:
        """Why the last step has given no token, for the client."""
        failure = self.sampler.grammar and self.sampler.grammar.failure
        if failure:
            return f"the grammar could not be followed: {failure}"
        return "the model computed no numbers for this request"

    def add(self, choice: Choice, texts: TokenTexts, *, is_eos: bool) -> Output:
        """Append a token and return what the client gets for it, with a Finish if it is the last."""
        self.tokens.append(choice.token_id)
        self.sampler.accept(choice.token_id)
        text = self.detokenizer.add(choice.token_id)
        reason = self._finish_reason(text, is_eos=is_eos)
        top = tuple(Token(other, texts.text(other), logprob, texts.is_special(other)) for other, logprob in choice.top)
        token = Token(choice.token_id, text, choice.logprob, texts.is_special(choice.token_id), top)
        return Output(token, self._finish(reason, texts) if reason else None)

    def _finish_reason(self, text: str, *, is_eos: bool) -> FinishReason | None:
        """TGI's order: length, end of text, stop sequences.

        A stop sequence counts where a token ends with it, also before a line break: TGI searches for it with `$`.
        """
        params = self.request.params
        if self.generated_tokens >= params.max_new_tokens:
            return FinishReason.LENGTH
        if is_eos:
            return FinishReason.EOS_TOKEN
        if params.stop:
            self._tail = (self._tail + text)[-STOP_WINDOW_CHARACTERS - max(map(len, params.stop)) :]
            if self._tail.endswith(params.stop) or self._tail.removesuffix("\n").endswith(params.stop):
                return FinishReason.STOP_SEQUENCE
        return None

    def _finish(self, reason: FinishReason, texts: TokenTexts) -> Finish:
        request = self.request
        return Finish(
            reason=reason,
            generated_text=self.detokenizer.generated_text(),
            generated_tokens=self.generated_tokens,
            queue_s=request.started_at - request.queued_at,
            inference_s=time.perf_counter() - request.started_at,
            prefill=self._prefill(texts) if request.prefill_logprobs else (),
        )

    def _prefill(self, texts: TokenTexts) -> tuple[PrefillToken, ...]:
        pairs = zip(self.request.prompt_ids, (None, *self.prompt_logprobs), strict=True)
        return tuple(PrefillToken(token_id, texts.text(token_id), logprob) for token_id, logprob in pairs)
