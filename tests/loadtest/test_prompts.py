"""Where prompts come from; lengths are counted by the real server's tokenizer."""

from itertools import islice
from pathlib import Path

import orjson
import pytest

from loadtest.errors import LoadTestError
from loadtest.plan import RequestPlan
from loadtest.prompts.counting import ServerTokenizer
from loadtest.prompts.files import jsonl_talks, sharegpt_talks
from loadtest.prompts.synthetic import text_of_length
from loadtest.scenario_files import load_scenario
from tests.server.live import LiveServer

SMALL = ("prompts.distinct=6", "prompts.prompt_tokens={mean: 300, stdev: 40, min: 200, max: 400}")
NOWHERE = ServerTokenizer("http://127.0.0.1:9")


def plan_with_prompts(scenario: str, server: LiveServer | None, *overrides: str, seed: int = 3) -> RequestPlan:
    plan = RequestPlan(load_scenario(scenario, overrides), seed)
    plan.pools = plan.make_pools(ServerTokenizer(server.url) if server else NOWHERE)
    return plan


def test_synthetic_chat_prompts_have_exactly_the_tokens_that_usage_says(live_server: LiveServer) -> None:
    plan = plan_with_prompts("rag-summarize", live_server, *SMALL)
    counter = ServerTokenizer(live_server.url).counter("openai-chat")
    for request in islice(plan.arrivals(), 4):
        (message,) = request.messages
        body = {"messages": [{"role": "user", "content": message.content}], "max_tokens": 1}
        used = live_server.post("/v1/chat/completions", body).json()["usage"]["prompt_tokens"]
        assert used == counter(message.content)
        assert 200 <= used <= 400
        assert message.content.endswith("Summarize the text above in two sentences.")


def test_lengths_are_met_to_the_token(live_server: LiveServer) -> None:
    plan = plan_with_prompts("shared-prefix", live_server, "prompts.distinct=8", "prompts.prompt_tokens=900")
    counts = {
        len(live_server.post("/tokenize", {"inputs": talk.turns[0]}).json()) for talk in plan.pools["shared-prefix"]
    }
    assert counts == {900}


def test_prompts_share_their_prefix_and_nothing_else(live_server: LiveServer) -> None:
    plan = plan_with_prompts(
        "shared-prefix", live_server, "prompts.distinct=4", "prompts.prefixes=2", "prompts.shared_prefix_tokens=60",
        "prompts.prompt_tokens=120",
    )  # fmt: skip
    first, other, again, _ = (talk.turns[0] for talk in plan.pools["shared-prefix"])
    prefix = first.split("\n\n[")[0]
    assert again.startswith(prefix)
    assert not other.startswith(prefix)
    assert len(live_server.post("/tokenize", {"inputs": prefix}).json()) == 60
    assert first.removeprefix(prefix)[:20] != again.removeprefix(prefix)[:20]


def test_a_trace_says_the_lengths_of_its_prompts(live_server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s,prompt_tokens,max_tokens\n0,60,4\n0.1,75,5\n")
    (tmp_path / "s.yaml").write_text(
        "description: d\narrivals: {process: trace, file: t.csv}\nprotocol: tgi-generate-stream\n"
        "prompts: {source: synthetic, prompt_tokens: 10}\n"
    )
    requests = list(plan_with_prompts(str(tmp_path / "s.yaml"), live_server).arrivals())
    counter = ServerTokenizer(live_server.url).counter("tgi-generate")
    assert [(counter(request.prompt), request.max_tokens) for request in requests] == [(60, 4), (75, 5)]


def test_a_length_below_what_surrounds_the_text_is_refused(live_server: LiveServer) -> None:
    with pytest.raises(LoadTestError, match="A synthetic prompt of 5 tokens is too short"):
        plan_with_prompts("rag-summarize", live_server, "prompts.prompt_tokens=5", "prompts.distinct=1")


def test_a_server_that_counts_no_tokens_is_named() -> None:
    with pytest.raises(LoadTestError, match=r"127\.0\.0\.1:9/chat_tokenize does not do it"):
        plan_with_prompts("rag-summarize", None)


@pytest.mark.parametrize("target", [3, 10, 57, 400])
def test_exact_lengths_do_not_depend_on_how_the_tokenizer_counts(target: int) -> None:
    """Against counters with known answers: three characters a token, rounded up, and words."""
    words = [f" {'x' * (number % 9 + 1)}" for number in range(target)]
    for count in (lambda text: -(-len(text) // 3), lambda text: len(text.split())):
        assert count(text_of_length(target, words, lambda body: body, count)) == target


def test_json_lines_may_hold_prompts_or_messages(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    rows = [{"text": "one"}, {"messages": messages}]
    (tmp_path / "p.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    assert [talk.turns for talk in jsonl_talks(tmp_path / "p.jsonl", "text")] == [("one",), ("a", "b")]


def test_sharegpt_files_give_what_humans_said(tmp_path: Path) -> None:
    talks = [
        {"id": "1", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "x"}]},
        {"id": "2", "conversations": [{"from": "gpt", "value": "only the model"}]},
        {"id": "3", "conversations": [{"from": "user", "value": "b"}, {"from": "human", "value": "c"}]},
    ]
    (tmp_path / "list.json").write_bytes(orjson.dumps(talks))
    (tmp_path / "lines.jsonl").write_bytes(b"\n".join(map(orjson.dumps, talks)))
    for name in ("list.json", "lines.jsonl"):
        assert [talk.turns for talk in sharegpt_talks(tmp_path / name)] == [("a",), ("b", "c")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompt": "a"}\nnot json\n', "line 2 is no JSON"),
        (
            '{"question": "a"}\n',
            "line 1: neither a text under 'prompt' nor messages of a user; it has \\['question'\\]",
        ),
        ('{"messages": [{"role": "user"}]}\n', "each message needs 'role' and 'content'"),
        ("[1]\n", "line 1: a JSON object is needed"),
        ("\n", "is empty"),
    ],
)
def test_prompt_files_that_do_not_fit_are_refused_with_their_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(LoadTestError, match=said):
        jsonl_talks(tmp_path / "p.jsonl", "prompt")


def test_a_sharegpt_file_without_humans_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('[{"conversations": []}]')
    with pytest.raises(LoadTestError, match="no conversation in which a human"):
        sharegpt_talks(tmp_path / "s.json")
