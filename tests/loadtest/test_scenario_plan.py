"""The same seed gives the same requests in the same order, in every process."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from loadtest.llmload.request import PromptRequest
from loadtest.plan import RequestPlan
from loadtest.prompts.counting import ServerTokenizer
from loadtest.scenario_files import load_scenario

ROOT = Path(__file__).parents[2]
NOWHERE = ServerTokenizer("http://127.0.0.1:9")
SHOW = """
from itertools import islice
from tests.loadtest.test_scenario_plan import plan
for request in islice(plan("burst").arrivals(), 50): print(request)
conversation = plan("chat").conversation(1)
print(next(conversation), [conversation.send("an answer") for _ in range(20)])
"""


def plan(scenario: str, *overrides: str, seed: int = 5) -> RequestPlan:
    made = RequestPlan(load_scenario(scenario, overrides), seed)
    made.pools = made.make_pools(NOWHERE)
    return made


def talk(made: RequestPlan, user: int, count: int, answer: str = "fine") -> list[PromptRequest]:
    conversation = made.conversation(user)
    return [next(conversation), *(conversation.send(answer) for _ in range(count - 1))]


def test_two_processes_make_the_same_requests() -> None:
    """Python's own hash seed differs between the two, so nothing may depend on it."""
    first, second = (
        subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second
    assert len(first.splitlines()) == 51


def test_another_seed_asks_something_else() -> None:
    assert list(plan("burst", seed=1).arrivals()) != list(plan("burst", seed=2).arrivals())
    assert talk(plan("chat", seed=1), 0, 5) != talk(plan("chat", seed=2), 0, 5)


def test_an_open_loop_ends_with_the_scenarios_duration() -> None:
    requests = list(plan("code-completion", "duration_s=10", "warmup_s=1").arrivals())
    assert len(requests) == pytest.approx(40, abs=20)
    assert all(request.scheduled_s is not None and request.scheduled_s < 10 for request in requests)
    assert [request.index for request in requests] == list(range(len(requests)))


def test_each_user_has_a_conversation_of_its_own() -> None:
    chats = plan("chat")
    assert talk(chats, 0, 8) == talk(chats, 0, 8)
    assert [r.messages for r in talk(chats, 0, 8)] != [r.messages for r in talk(chats, 1, 8)]
    assert len({request.request_id for user in range(3) for request in talk(chats, user, 8)}) == 24


def test_a_later_turn_quotes_what_was_asked_and_answered() -> None:
    requests = talk(plan("chat", "turns=3"), 0, 3, answer="because")
    assert [[message.role for message in request.messages] for request in requests] == [
        ["user"],
        ["user", "assistant", "user"],
        ["user", "assistant", "user", "assistant", "user"],
    ]
    assert requests[2].messages[:2] == (requests[0].messages[0], requests[1].messages[1])
    assert requests[1].messages[1].content == "because"
    assert len({request.session_id for request in requests}) == 1


def test_a_failed_turn_ends_the_conversation_and_changes_nothing_of_the_next() -> None:
    answered, failed = (plan("chat", "turns=3").conversation(0) for _ in range(2))
    next(failed)
    after_failure = failed.send("")
    next(answered)
    answered.send("a")
    answered.send("b")
    assert after_failure.session_id == "u0-c1"
    assert after_failure.messages == answered.send("c").messages


def test_users_think_before_they_ask_again_but_not_before_the_first_time() -> None:
    assert [request.think_time_s for request in talk(plan("chat", "arrivals.think_time_s=2"), 0, 3)] == [0, 2, 2]


def test_parts_get_the_shares_of_their_weights() -> None:
    arrivals = "arrivals={process: constant, rate_per_s: 100}"
    mixed = load_scenario("mixed", [arrivals, "mix=[{scenario: burst, weight: 3}, {scenario: code-completion}]"])
    made = RequestPlan(mixed, 0)
    made.pools = made.make_pools(NOWHERE)
    names = [request.scenario for request in islice(made.arrivals(), 4000)]
    assert names.count("burst") / len(names) == pytest.approx(0.75, abs=0.03)


def test_plain_protocols_get_one_text_and_chat_gets_messages() -> None:
    (chat,) = talk(plan("chat"), 0, 1)
    (plain,) = talk(plan("long-generation"), 0, 1)
    assert (chat.prompt, plain.messages) == ("", ())
    assert chat.messages
    assert plain.prompt
