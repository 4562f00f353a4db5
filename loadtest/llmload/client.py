"""One request from its prompt to its record. Whatever the server or the network does ends up in the record."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from gevent import GreenletExit

from loadtest.llmload.clock import RunClock
from loadtest.llmload.events import sse_data
from loadtest.llmload.http1 import Body, Target
from loadtest.llmload.kernel_transport import connection_to
from loadtest.llmload.protocols import APIS
from loadtest.llmload.protocols.api import Answer, Api, BadAnswer, StreamEvent, excerpt
from loadtest.llmload.record import ErrorKind, Record
from loadtest.llmload.request import PromptRequest
from loadtest.llmload.transport import Exchange, TransportError


@dataclass(frozen=True)
class Sender:
    """Who sends: what its records say of it."""

    worker: str
    model: str = "tgi"
    user_id: str | None = None


@dataclass(frozen=True)
class Failure:
    kind: ErrorKind
    message: str


class Client:
    """One kept-alive connection. Not to be shared between greenlets."""

    def __init__(self, target: Target, clock: RunClock, sender: Sender) -> None:
        self._target = target
        self._clock = clock
        self._sender = sender
        self._connection = connection_to(target)

    def send(self, request: PromptRequest) -> tuple[Record, str]:
        """The record and the answer's text. Never raises for what the server, the network or the run's end did."""
        api = APIS[request.protocol]
        exchange, answer = Exchange(), Answer()
        message = self._target.post(api.path, api.body(request, self._sender.model))
        sent_s = self._clock.now_s()
        failure: Failure | None = None
        try:
            self._connection.exchange(message, exchange)
        except TransportError as error:
            failure = Failure(error.kind, str(error))
        except GreenletExit:
            failure = Failure(ErrorKind.STOPPED, "the run ended before the answer")
        ended_s = self._clock.now_s()
        try:
            _read(api, exchange, answer)
        except BadAnswer as error:
            if failure is None or error.kind is ErrorKind.SERVER_ERROR:
                failure = Failure(error.kind, str(error))
        return self._record(request, exchange, answer, sent_s, ended_s, failure), "".join(answer.text)

    def close(self) -> None:
        self._connection.close()

    def _record(
        self,
        request: PromptRequest,
        exchange: Exchange,
        answer: Answer,
        sent_s: float,
        ended_s: float,
        failure: Failure | None,
    ) -> Record:
        arrivals_ns, at_s = exchange.arrivals_ns, self._clock.at_s
        tokens_ns = [arrivals_ns[piece] for piece in answer.token_pieces]
        return Record(
            request_id=request.request_id,
            scenario=request.scenario,
            phase=request.phase,
            protocol=request.protocol,
            worker=self._sender.worker,
            transport=self._connection.transport,
            sent_s=sent_s,
            end_s=at_s(arrivals_ns[-1]) if failure is None else ended_s,
            scheduled_s=request.scheduled_s,
            user_id=self._sender.user_id,
            session_id=request.session_id,
            first_byte_s=at_s(arrivals_ns[0]) if arrivals_ns else None,
            first_token_s=at_s(tokens_ns[0]) if tokens_ns else None,
            last_token_s=at_s(tokens_ns[-1]) if tokens_ns else None,
            gaps_s=tuple((later - earlier) / 1e9 for earlier, later in pairwise(tokens_ns)),
            coalesced_gaps=sum(earlier == later for earlier, later in pairwise(answer.token_pieces)),
            requested_max_tokens=request.max_tokens,
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            finish_reason=answer.finish_reason,
            status=exchange.response.status,
            error_kind=failure.kind if failure else None,
            error=failure.message if failure else None,
        )


def _read(api: Api, exchange: Exchange, answer: Answer) -> None:
    response = exchange.response
    if response.status is None:
        return
    body = Body(response)
    if response.status != 200:
        raise BadAnswer(ErrorKind.HTTP, f"HTTP {response.status}: {excerpt(body.data)}")
    if api.streaming:
        api.read_stream(_events(body), answer)
    elif response.complete:
        api.read_whole(body.data, response.headers, answer)


def _events(body: Body) -> Iterator[StreamEvent]:
    ends: list[int] = []
    data = []
    for end, event in sse_data(body.data):
        ends.append(end)
        data.append(event)
    return zip(body.pieces_of(iter(ends)), data, strict=True)
