"""One worker's part of a run: it sends, and it keeps what came of it."""

from collections.abc import Callable
from pathlib import Path

from gevent import GreenletExit

from loadtest.llmload.client import Client, Sender
from loadtest.llmload.clock import RunClock
from loadtest.llmload.http1 import Target
from loadtest.llmload.journal import Journal
from loadtest.llmload.open_loop import OpenLoop
from loadtest.llmload.plan import LoadPlan, RunStart
from loadtest.llmload.record import ErrorKind, Record
from loadtest.llmload.request import PromptRequest
from loadtest.llmload.sampler import Sampler, WorkerReport


class WorkerRun:
    def __init__(
        self, plan: LoadPlan, start: RunStart, url: str, worker_number: int, on_record: Callable[[Record], None]
    ) -> None:
        """Raises LoadTestError for a folder that cannot hold the records, ValueError for a URL that is none."""
        self.clock = RunClock(start.started_unix_ns)
        self.workload = plan.workload
        self._model = plan.model
        self._workers = len(start.workers)
        self._number = worker_number
        self._target = Target.from_url(url, plan.api_key, plan.connect_timeout_s, plan.read_timeout_s)
        self._name = f"w{worker_number}"
        self._journal = Journal(Path(start.folder), self._name)
        self._on_record = on_record
        self._users = 0
        self._idle: list[Client] = []
        self._sampler = Sampler()

    def next_user_number(self) -> int:
        """Users are numbered over all workers, so that each has a conversation of its own."""
        self._users += 1
        return (self._users - 1) * self._workers + self._number

    def client(self, user_id: str | None = None) -> Client:
        return Client(self._target, self.clock, Sender(self._name, self._model, user_id))

    def send(self, client: Client, request: PromptRequest) -> str:
        """The answer's text. Raises GreenletExit, once the record is written, if the run has ended meanwhile."""
        record, text = client.send(request)
        self._journal.write(record)
        self._on_record(record)
        if record.error_kind is ErrorKind.STOPPED:
            raise GreenletExit
        return text

    def open_loop(self, on_done: Callable[[], None]) -> OpenLoop:
        arrivals = self.workload.arrivals()
        mine = (request for request in arrivals if request.index % self._workers == self._number)
        return OpenLoop(mine, self._send_on_idle_connection, self.clock, on_done)

    @property
    def disk_failure(self) -> str | None:
        """Why the disk refused a record; None as long as it did not."""
        return self._journal.failure

    def finish(self) -> WorkerReport:
        samples, clock_step_s = self._sampler.stop()
        lost = self._journal.close()
        for client in self._idle:
            client.close()
        return WorkerReport(self._name, self._journal.written, lost, self.disk_failure, clock_step_s, samples)

    def _send_on_idle_connection(self, request: PromptRequest) -> None:
        client = self._idle.pop() if self._idle else self.client()
        self.send(client, request)
        self._idle.append(client)
