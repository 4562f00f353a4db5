"""What a scenario asks for: one request of a model, before any protocol has put it into bytes."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

ProtocolName = Literal[
    "tgi-generate", "tgi-generate-stream", "openai-chat", "openai-chat-stream", "openai-completions",
    "openai-completions-stream",
]  # fmt: skip


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sampling:
    """What is None is left out of the request, so that the server's default holds."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    """Only TGI's own protocol knows it; the OpenAI ones leave it out."""
    repetition_penalty: float | None = None
    """Only TGI's own protocol knows it."""
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptRequest:
    """One request. `messages` for chat protocols, `prompt` for the others."""

    request_id: str
    index: int
    """Place in the scenario's order; with several workers, worker w of n sends those with index % n == w."""
    scenario: str
    protocol: ProtocolName
    max_tokens: int
    prompt: str = ""
    messages: tuple[Message, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    phase: str = ""
    session_id: str | None = None
    scheduled_s: float | None = None
    """Open loop: seconds after the run's start at which it has to be sent. None in a closed loop."""
    think_time_s: float = 0.0
    """Closed loop: how long the user waits before sending it."""


Conversation = Generator[PromptRequest, str, None]
"""A closed-loop user's requests; each answer's text ("" after a failure) is sent in, for the next turn to quote."""


class Workload(Protocol):
    """What the runner needs of a scenario. Both are seeded: the same requests in the same order every time."""

    name: str
    open_loop: bool
    stop_when_done: bool
    """Whether the run ends once every request has been answered (a trace), rather than by --run-time alone."""

    def arrivals(self) -> Iterator[PromptRequest]:
        """Open loop: every request of the run by ascending `scheduled_s`; each worker picks its share by `index`."""

    def conversation(self, user_number: int) -> Conversation:
        """Closed loop: the requests of user 0, 1, 2, ... (numbered over all workers)."""
