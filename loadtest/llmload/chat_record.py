"""What is kept of one request."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import orjson


@dataclass(frozen=True)
class Record:
    """One request as the client saw it; times are seconds since `started_unix_s`."""

    started_unix_s: float
    end_s: float
    text_times_s: tuple[float, ...] = ()
    """When each event that carries text arrived."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    error_kind: str | None = None
    """`http`, `stream`, `truncated` or `connection`; None when the request succeeded."""
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error_kind is None

    @property
    def ttft_s(self) -> float | None:
        return self.text_times_s[0] if self.text_times_s else None

    @property
    def tpot_s(self) -> float | None:
        """Mean time of an output token after the first; None below two tokens."""
        if not self.text_times_s or not self.completion_tokens or self.completion_tokens < 2:
            return None
        return (self.text_times_s[-1] - self.text_times_s[0]) / (self.completion_tokens - 1)

    @property
    def gaps_s(self) -> list[float]:
        """Times between neighbouring events that carry text."""
        return [later - earlier for earlier, later in pairwise(self.text_times_s)]

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @staticmethod
    def from_json(line: bytes | str) -> "Record":
        fields = orjson.loads(line)
        return Record(**{**fields, "text_times_s": tuple(fields["text_times_s"])})
