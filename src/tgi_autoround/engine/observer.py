"""What the engine tells of its work while it goes on."""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step. `method` is "prefill" where prompt tokens were computed; the last three count since the start."""

    method: Literal["prefill", "decode"]
    batch_size: int
    batch_tokens: int
    """Tokens of the cache that the batch holds or is about to."""
    queue_size: int
    inference_s: float
    admitted_tokens: int
    """Tokens of the prompts that entered the batch, and of sequences that entered it again."""
    reused_tokens: int
    """Those of them that were not computed because the prefix cache had them."""
    preemptions: int


class Observer(Protocol):
    """Called on the engine's thread; the server makes metrics of it."""

    def on_step(self, report: StepReport) -> None:
        """One step is done."""

    def on_idle(self) -> None:
        """Nothing is left to do."""
