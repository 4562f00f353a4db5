"""Locust's users: in a closed loop each holds a conversation, in an open loop they only keep the run going."""

from typing import ClassVar

from locust import User, task
from locust.exception import StopUser

from loadtest.llmload.closed_loop import ClosedLoopUser
from loadtest.llmload.worker_run import WorkerRun

_UNTIL_STOPPED_S = 1e6


class LoadUser(User):
    """One request is one task: Locust can stop a user between two requests, and while it waits."""

    run_of_worker: ClassVar[WorkerRun | None] = None
    """The run under way in this process; None between runs, and in a worker that joined after the start."""
    _user: ClosedLoopUser | None = None

    def on_stop(self) -> None:
        if self._user is not None:
            self._user.close()

    @task
    def send(self) -> None:
        if self._user is None:
            self._begin()  # nothing is sent yet: Locust waits after each task, which is the first pause
        elif not self._user.send_next():
            raise StopUser

    def wait_time(self) -> float:
        return _UNTIL_STOPPED_S if self._user is None else self._user.pause_s

    def _begin(self) -> None:
        if self.run_of_worker is not None and not self.run_of_worker.workload.open_loop:
            self._user = ClosedLoopUser(self.run_of_worker)
