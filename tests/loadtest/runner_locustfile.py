"""A locustfile with the simplest workloads there are; tests choose one by the environment."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from locust import events

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loadtest.llmload.install import install
from loadtest.llmload.plan import LoadPlan
from loadtest.llmload.request import Conversation, Message, PromptRequest
from loadtest.llmload.users import LoadUser

__all__ = ["LoadUser"]


@dataclass(frozen=True)
class Simple:
    """RATE requests a second in an open loop until REQUESTS are sent, or users that talk without end."""

    name: str = "simple"
    open_loop: bool = "RATE" in os.environ
    stop_when_done: bool = True

    def arrivals(self) -> Iterator[PromptRequest]:
        for index in range(int(os.environ["REQUESTS"])):
            yield PromptRequest(
                request_id=f"r{index}",
                index=index,
                scenario=self.name,
                protocol="tgi-generate-stream",
                max_tokens=4,
                prompt="hello",
                scheduled_s=index / float(os.environ["RATE"]),
            )

    def conversation(self, user_number: int) -> Conversation:
        said: tuple[Message, ...] = ()
        for index in count():
            said = (*said[-2:], Message("user", "And then?"))
            answer = yield PromptRequest(
                request_id=f"u{user_number}-{index}",
                index=index,
                scenario=self.name,
                protocol="openai-chat-stream",
                max_tokens=4,
                messages=said,
                session_id=f"s{user_number}",
            )
            said = (*said, Message("assistant", answer))


def _finished(folder: Path) -> None:
    (folder / "finished").touch()


@events.init.add_listener
def _install(environment: Any, **_: Any) -> None:
    plan = LoadPlan(Simple(), new_run_folder=lambda: Path(os.environ["RUN_FOLDER"]), on_finished=_finished)
    install(environment, lambda: plan)
