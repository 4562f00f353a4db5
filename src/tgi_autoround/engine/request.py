"""What goes into the engine (`Request`) and what comes out (`Output`, `Failure`), one object each.

The server makes a `Request`, calls `Engine.submit(request, on_event)`, and receives one `Output` for every
generated token, the last one carrying a `Finish`; or one `Failure`. Events arrive on the engine's thread.
"""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llguidance import LLMatcher


class FinishReason(str, enum.Enum):
    """Why a generation ended, in TGI's words."""

    LENGTH = "length"
    EOS_TOKEN = "eos_token"
    STOP_SEQUENCE = "stop_sequence"


@dataclass(frozen=True, slots=True)
class Watermark:
    """Favour a secret `gamma` share of the vocabulary by `delta` logits, so that a detector can tell the text."""

    gamma: float = 0.5
    delta: float = 2.0


@dataclass(frozen=True, slots=True)
class Grammar:
    """What the generated text has to be: a match of a regular expression, or a document of a JSON schema.

    A request is submitted with what `Engine.grammars.compile` has returned for it.
    """

    kind: Literal["json", "regex"]
    text: str
    matcher: "LLMatcher | None" = field(default=None, repr=False, compare=False)
    """Set by `compile`; without it the grammar is compiled while it is submitted."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen; the neutral value of each field switches it off, as in TGI."""

    max_new_tokens: int
    seed: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    top_n_tokens: int = 0
    """How many of the likeliest tokens to report with each chosen one; ties with the last of them come too."""
    watermark: Watermark | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. `text` is "" while its bytes do not yet end a character; `logprob` is natural."""

    id: int
    text: str
    logprob: float
    special: bool
    top_tokens: tuple["Token", ...] = ()
    """The likeliest tokens of this step, best first, where `top_n_tokens` asked for them; theirs are empty."""


@dataclass(frozen=True, slots=True)
class PrefillToken:
    """One token of the prompt; `logprob` is natural, and None for the first, which nothing precedes."""

    id: int
    text: str
    logprob: float | None


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a generation: the whole text, as TGI returns it (stop sequences kept, special tokens not)."""

    reason: FinishReason
    generated_text: str
    generated_tokens: int
    queue_s: float
    inference_s: float
    prefill: tuple[PrefillToken, ...] = ()
    """The prompt's tokens, where `prefill_logprobs` asked for them."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one engine step gives one request."""

    token: Token
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The request ended without a result; `message` is for the client."""

    message: str


OnEvent = Callable[[Output | Failure], None]


@dataclass(slots=True, eq=False)
class Request:
    """A prompt on its way through the engine; the caller sets the first two fields and may set `cancelled`."""

    prompt_ids: list[int]
    params: SamplingParams
    cancelled: bool = False
    prefill_logprobs: bool = False
    adapter: str | None = None
    """The id of a LoRA adapter of `Engine.adapters`; None is the model as it is."""
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0
    """Set by the scheduler at admission (seconds of `time.perf_counter`, like `queued_at`)."""
