"""The closed loop: a user asks again once the answer has come, as people and most clients do."""

from loadtest.llmload.worker_run import WorkerRun


class ClosedLoopUser:
    """One conversation on one connection."""

    def __init__(self, run: WorkerRun) -> None:
        number = run.next_user_number()
        self._run = run
        self._client = run.client(f"u{number}")
        self._conversation = run.workload.conversation(number)
        self._upcoming = next(self._conversation, None)

    @property
    def pause_s(self) -> float:
        """How long to wait before `send_next`: the run may begin later, and people think."""
        think_time_s = self._upcoming.think_time_s if self._upcoming else 0.0
        return max(0.0, -self._run.clock.now_s()) + think_time_s

    def send_next(self) -> bool:
        """Ask, and read the answer; False once the conversation is over."""
        if self._upcoming is None:
            return False
        answer = self._run.send(self._client, self._upcoming)
        try:
            self._upcoming = self._conversation.send(answer)
        except StopIteration:
            self._upcoming = None
        return self._upcoming is not None

    def close(self) -> None:
        self._client.close()
        self._conversation.close()
