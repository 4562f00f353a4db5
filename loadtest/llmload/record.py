"""What is kept of one request: one JSON line, written by the worker that sent it."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import orjson

from loadtest.llmload.request import ProtocolName

Transport = Literal["kernel", "userspace"]


class ErrorKind(str, Enum):
    """Why a request is no success. Each has its own remedy, so none is folded into another."""

    CONNECT = "connect"
    """No connection: refused, unreachable, or a name that does not resolve."""
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    """Connected, then silent for longer than the read timeout."""
    DISCONNECT = "disconnect"
    """The connection closed before the body's end."""
    HTTP = "http"
    """A status other than 200; `Record.status` has it."""
    SERVER_ERROR = "server_error"
    """An error event inside a 200 stream: how TGI reports overload once headers are out."""
    TRUNCATED = "truncated"
    """The body ended as HTTP asks, but without the answer's end (finish reason, end mark)."""
    PROTOCOL = "protocol"
    """An answer that the protocol does not allow: no JSON, no token counts, no HTTP."""
    STOPPED = "stopped"
    """The run ended first. Not the server's fault: it counts neither as a success nor as a failure."""


@dataclass(frozen=True)
class Record:
    """One request as the client saw it.

    Times (`*_s`) are seconds of one monotonic clock since the run's start, whose Unix time stands in the run's
    meta.json; None where the request never got that far. Counts of tokens are the server's, never counted from events.
    """

    request_id: str
    scenario: str
    phase: str
    protocol: ProtocolName
    worker: str
    transport: Transport
    """`kernel`: arrival times are the kernel's receive timestamps; `userspace`: taken after the read returned."""
    sent_s: float
    """Just before the connection was used, or opened if none was kept alive."""
    end_s: float
    """Arrival of the body's last byte, or when the request was given up."""
    scheduled_s: float | None = None
    """When the open loop wanted it sent; None in a closed loop."""
    user_id: str | None = None
    session_id: str | None = None
    first_byte_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    """Times between neighbouring events that carry tokens, in order; empty without streaming."""
    coalesced_gaps: int = 0
    """Gaps whose two events came out of the socket together, so that their true distance is unknown."""
    requested_max_tokens: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    status: int | None = None
    error_kind: ErrorKind | None = None
    """None for a success."""
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error_kind is None

    @property
    def started_s(self) -> float:
        """Where latencies are counted from: the schedule in an open loop, so that a late client hides nothing."""
        return self.sent_s if self.scheduled_s is None else self.scheduled_s

    def to_json_line(self) -> bytes:
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)

    @staticmethod
    def from_json(line: bytes | str) -> "Record":
        """The record of one line; raises ValueError (JSON, error kind) or TypeError (fields) for anything else."""
        fields = orjson.loads(line)
        kind = fields["error_kind"]
        return Record(
            **{**fields, "gaps_s": tuple(fields["gaps_s"]), "error_kind": None if kind is None else ErrorKind(kind)}
        )
