"""Closed-loop chat users: each asks, reads the streamed answer to its end, and asks again.

    locust -f loadtest/locustfile.py --headless -u 4 -r 4 -t 20s --host http://127.0.0.1:8080

Locust drives the users and shows requests; the figures of tokens come from one record a request
(--records, JSON lines) and their summary (--summary, JSON), as defined in docs/loadtest.md.
"""

import random
import sys
from pathlib import Path
from typing import Any

import orjson
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

sys.path.insert(0, str(Path(__file__).parent))

from llmload.chat import CHAT_PATH, ChatClient
from llmload.chat_record import Record
from llmload.summary import read_records, summarize

PROMPTS = Path(__file__).with_name("prompts.txt").read_text(encoding="utf-8").splitlines()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--records", default="records.jsonl", help="where each request is written, a JSON line each")
    parser.add_argument("--summary", default="summary.json", help="where the figures of the run are written")
    parser.add_argument("--max-tokens", type=int, default=64, help="output tokens asked for a request")
    parser.add_argument("--prompt-seed", type=int, default=0, help="seed of the order of prompts")


@events.test_start.add_listener
def clear_records(environment: Environment, **_: Any) -> None:
    Path(environment.parsed_options.records).write_bytes(b"")


@events.test_stop.add_listener
def write_summary(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    figures = summarize(read_records(Path(options.records)))
    Path(options.summary).write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


class ChatUser(User):
    """One person in a chat: the next question goes out when the answer before it is complete."""

    users_started = 0

    def on_start(self) -> None:
        self.options = self.environment.parsed_options
        self.client = ChatClient(self.environment.host)
        self.random = random.Random(f"{self.options.prompt_seed}:{ChatUser.users_started}")
        ChatUser.users_started += 1

    def on_stop(self) -> None:
        self.client.close()

    @task
    def chat(self) -> None:
        record = self.client.ask(self.random.choice(PROMPTS), self.options.max_tokens)
        with Path(self.options.records).open("ab") as records:
            records.write(record.to_json() + b"\n")
        self._tell_locust(record)

    def _tell_locust(self, record: Record) -> None:
        self.environment.events.request.fire(
            request_type="POST",
            name=CHAT_PATH,
            response_time=record.end_s * 1000,
            response_length=record.completion_tokens or 0,
            exception=None if record.ok else RuntimeError(f"{record.error_kind}: {record.error}"),
            context={},
        )
