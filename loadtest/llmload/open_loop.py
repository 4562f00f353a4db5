"""The open loop: every request goes out at its time, whatever became of those before it."""

from collections.abc import Callable, Iterator

import gevent
from gevent.pool import Group

from loadtest.llmload.clock import RunClock
from loadtest.llmload.request import PromptRequest


class OpenLoop:
    """A greenlet for each request, without a limit on how many are under way: a limit would hide a stalled server."""

    def __init__(
        self,
        requests: Iterator[PromptRequest],
        send: Callable[[PromptRequest], None],
        clock: RunClock,
        on_done: Callable[[], None],
    ) -> None:
        """`on_done` is called when every request has been answered; not if the loop is stopped before."""
        self._requests = requests
        self._send = send
        self._clock = clock
        self._on_done = on_done
        self._under_way = Group()
        self._scheduler = gevent.spawn(self._run)

    def stop(self, patience_s: float) -> None:
        """Send nothing more; what is under way gets this long, then it is cut."""
        self._scheduler.kill()
        gevent.sleep(0)  # a request that was due just now gets to be sent, and with that to have a record
        self._under_way.join(timeout=patience_s)
        self._under_way.kill()

    def _run(self) -> None:
        for request in self._requests:
            gevent.sleep(max(0.0, (request.scheduled_s or 0.0) - self._clock.now_s()))
            self._under_way.spawn(self._send, request)
        self._under_way.join()
        self._on_done()
