"""When a worker's part of a run starts, stops and ends."""

import logging
from dataclasses import asdict
from typing import Any

from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner, WorkerRunner

from loadtest.errors import LoadTestError
from loadtest.llmload.messages import END_MESSAGE, REPORT_MESSAGE, START_OPTION, STOP_MESSAGE
from loadtest.llmload.open_loop import OpenLoop
from loadtest.llmload.plan import CurrentPlan, RunStart
from loadtest.llmload.protocols import APIS
from loadtest.llmload.record import ErrorKind, Record
from loadtest.llmload.users import LoadUser
from loadtest.llmload.worker_run import WorkerRun

_log = logging.getLogger(__name__)


class Sending:
    """In a process whose users send: one run after another."""

    def __init__(self, environment: Environment, runner: LocalRunner | WorkerRunner, plan: CurrentPlan) -> None:
        self._environment = environment
        self._runner = runner
        self._current = plan
        self._run: WorkerRun | None = None
        self._open_loop: OpenLoop | None = None
        self._ending = False
        self._reported = Event()
        self._reported.set()

    def listen(self) -> None:
        events = self._environment.events
        events.test_start.add_listener(self._start)
        events.test_stopping.add_listener(self._stop_open_loop)
        events.test_stop.add_listener(self._finish)
        if isinstance(self._runner, WorkerRunner):
            events.quitting.add_listener(self._stop)
            self._runner.register_message(STOP_MESSAGE, self._stop, concurrent=True)

    def _start(self, **_: Any) -> None:
        plan = self._current.plan
        if plan is None:
            return
        start = RunStart(**vars(self._environment.parsed_options)[START_OPTION])
        if self._runner.client_id not in start.workers:
            _log.warning("This worker joined after the start of the run: it sends nothing until the next one")
            return
        self._ending = False
        try:
            number = start.workers.index(self._runner.client_id)
            self._run = WorkerRun(plan, start, self._environment.host or "", number, self._on_record)
        except (LoadTestError, ValueError) as error:
            _log.error("The run cannot start: %s", error)
            self._say_end(at_once=True)
            return
        self._reported.clear()
        LoadUser.run_of_worker = self._run
        if plan.workload.open_loop:
            self._open_loop = self._run.open_loop(self._on_all_answered)

    def _stop(self, **_: Any) -> None:
        """Ctrl-C and the coordinator may both ask for it: whoever comes second waits for the first, too."""
        if not self._reported.is_set():
            self._runner.stop()
            self._reported.wait()

    def _stop_open_loop(self, **_: Any) -> None:
        open_loop, self._open_loop = self._open_loop, None
        if open_loop is not None:
            open_loop.stop(self._environment.stop_timeout)

    def _finish(self, **_: Any) -> None:
        run, self._run, LoadUser.run_of_worker = self._run, None, None
        if run is not None:
            report = {"worker_id": self._runner.client_id, "report": asdict(run.finish())}
            self._runner.send_message(REPORT_MESSAGE, report)
            self._reported.set()

    def _on_all_answered(self) -> None:
        if self._run is not None and self._run.workload.stop_when_done:
            self._say_end(at_once=False)

    def _on_record(self, record: Record) -> None:
        if self._run is not None and self._run.disk_failure and not self._ending:
            _log.error("The disk refuses records (%s): the run ends", self._run.disk_failure)
            self._say_end(at_once=True)
        if record.error_kind is not ErrorKind.STOPPED:
            self._tell_locust(record)

    def _say_end(self, at_once: bool) -> None:
        self._ending = True
        self._runner.send_message(END_MESSAGE, {"worker_id": self._runner.client_id, "at_once": at_once})

    def _tell_locust(self, record: Record) -> None:
        self._environment.events.request.fire(
            request_type="POST",
            name=APIS[record.protocol].path,
            response_time=(record.end_s - record.started_s) * 1000,
            response_length=record.output_tokens or 0,
            exception=_exception(record),
            context={},
        )


def _exception(record: Record) -> RuntimeError | None:
    return None if record.error_kind is None else RuntimeError(f"{record.error_kind.value}: {record.error}")
