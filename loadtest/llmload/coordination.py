"""When runs start, stop and end for good, in the process with the terminal or the web page."""

from dataclasses import asdict
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from loadtest.llmload.coordinator import Coordinator
from loadtest.llmload.messages import END_MESSAGE, REPORT_MESSAGE, START_OPTION
from loadtest.llmload.plan import CurrentPlan


class Coordination:
    """In the process with the terminal or the web page: one run after another."""

    def __init__(self, environment: Environment, runner: LocalRunner | MasterRunner, plan: CurrentPlan) -> None:
        self._environment = environment
        self._current = plan
        self._runner = runner
        self._run: Coordinator | None = None
        self._ended: set[str] = set()

    def listen_to_start(self) -> None:
        """Before the sending part of this process does: it needs what is decided here."""
        self._environment.events.test_start.add_listener(self._start)

    def listen_to_end(self) -> None:
        """After the sending part of this process: its report has to be there."""
        events = self._environment.events
        events.test_stopping.add_listener(self._stop_workers)
        events.test_stop.add_listener(self._finish)
        events.quitting.add_listener(self._quit)
        self._runner.register_message(REPORT_MESSAGE, self._take_report)
        self._runner.register_message(END_MESSAGE, self._end)

    def _start(self, **_: Any) -> None:
        self._ended.clear()
        if self._current.plan is None:
            return
        self._run = Coordinator(self._current.plan, self._environment, self._runner)
        vars(self._environment.parsed_options)[START_OPTION] = asdict(self._run.start)

    def _stop_workers(self, **_: Any) -> None:
        if self._run is not None and isinstance(self._runner, MasterRunner):
            self._run.stop_workers()

    def _finish(self, **_: Any) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.finish()

    def _quit(self, **_: Any) -> None:
        """On Ctrl-C Locust says this first, and asks for the exit code next: the run has to be over by then."""
        if self._run is None:
            return
        if isinstance(self._runner, MasterRunner):
            self._runner.stop(send_stop_to_client=False)  # _stop_workers has stopped them, and waited
        else:
            self._runner.stop()

    def _take_report(self, msg: Any, **_: Any) -> None:
        if self._run is not None:
            self._run.take_report(msg.data["worker_id"], msg.data["report"])

    def _end(self, msg: Any, **_: Any) -> None:
        """A worker has no more to send (the run ends when all have), or cannot go on (it ends at once)."""
        self._ended.add(msg.data["worker_id"])
        if self._run is None or not (msg.data["at_once"] or self._ended >= set(self._run.start.workers)):
            return
        headless = vars(self._environment.parsed_options)["headless"]
        gevent.spawn(self._runner.quit if headless else self._runner.stop)
