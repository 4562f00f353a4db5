"""Scenario files: what they may say, and what is said about those that do not fit."""

from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.scenario_files import load_scenario, scenario_names

CHAT = "description: d\nprompts: {source: builtin, texts: chat}\n"


def scenario_file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_every_scenario_that_the_documentation_promises_is_there_and_fits() -> None:
    promised = {"chat", "rag-summarize", "code-completion", "shared-prefix", "long-generation"}
    promised |= {"burst", "ramp", "soak", "saturation", "mixed"}
    assert promised == set(scenario_names())
    for name in scenario_names():
        assert load_scenario(name).description


def test_every_kind_of_arrivals_and_of_prompts_is_accepted(tmp_path: Path) -> None:
    arrivals = (
        "{process: closed, users: 3}", "{process: constant, rate_per_s: 2}", "{process: poisson, rate_per_s: 2}",
        "{process: gamma, rate_per_s: 2, burstiness: 0.5}", "{process: ramp, from_per_s: 0, to_per_s: 2, over_s: 9}",
        "{process: trace, file: t.csv}",
    )  # fmt: skip
    for process in arrivals:
        loaded = load_scenario(scenario_file(tmp_path, f"{CHAT}arrivals: {process}\n"))
        assert loaded.arrivals.process in process
    sources = ("builtin, texts: code", "jsonl, file: p.jsonl", "sharegpt, file: s.json", "synthetic, prompt_tokens: 9")
    for source in sources:
        text = f"description: d\nprompts: {{source: {source}}}\n"
        assert load_scenario(scenario_file(tmp_path, text)).parts[0].workload.prompts.source in source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("description: d\n", "prompts is missing"),
        (f"{CHAT}max_token: 3\n", "max_token is not a key that exists. Did you mean max_tokens?"),
        (f"{CHAT}arrivals: {{process: poisson, rate: 3}}\n", "rate is not a key that exists. Did you mean rate_per_s?"),
        (f"{CHAT}arrivals: {{process: poisson, rate_per_s: -1}}\n", "arrivals.poisson.rate_per_s: Input should be gr"),
        (f"{CHAT}arrivals: {{process: uniform}}\n", "'closed', 'constant', 'poisson', 'gamma', 'ramp', 'trace'"),
        (f"{CHAT}max_tokens: many\n", "max_tokens.mean: Input should be a valid number"),
        (f"{CHAT}max_tokens: {{mean: 5, max: 4}}\n", "mean 5 has to lie between min 1 and max 4"),
        (f"{CHAT}warmup_s: 60\n", "warmup_s 60 leaves nothing of duration_s 60"),
        (f"{CHAT}protocol: openai-chat\nslo: {{ttft_s: 1}}\n", "use openai-chat-stream"),
        (f"{CHAT}turns: 2\narrivals: {{process: constant, rate_per_s: 1}}\n", "turns need arrivals.process closed"),
        (f"{CHAT}mix: [{{scenario: chat}}]\n", "with mix, the parts say prompts"),
        ("description: d\nmix: [{scenario: mixed}]\n", "mixed is a mix itself"),
        ("- a\n- b\n", "has to be a YAML mapping"),
        ("description: [\n", "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_name_the_key_and_the_remedy(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(LoadTestError) as refused:
        load_scenario(scenario_file(tmp_path, text))
    assert said in str(refused.value)
    assert "mine.yaml" in str(refused.value)


def test_a_name_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(LoadTestError, match=r"no scenario 'chatt'.*burst, chat, "):
        load_scenario("chatt")


def test_values_can_be_changed_without_another_file() -> None:
    changed = load_scenario(
        "chat", ["arrivals.users=2", "max_tokens={mean: 9, stdev: 1}", "protocol=tgi-generate-stream"]
    )
    assert changed.arrivals.users == 2
    assert changed.parts[0].workload.max_tokens.mean == 9
    assert changed.parts[0].workload.protocol == "tgi-generate-stream"


@pytest.mark.parametrize("override", ["arrivals.users", "arrivals.users=[", "description.deeper=1"])
def test_a_change_that_makes_no_sense_is_refused(override: str) -> None:
    with pytest.raises(LoadTestError, match="--set"):
        load_scenario("chat", [override])


def test_a_mix_takes_its_parts_from_other_files_with_their_weights(tmp_path: Path) -> None:
    scenario_file(tmp_path, f"{CHAT}tags: [own]\nmax_tokens: 7\n", "beside.yaml")
    mixed = scenario_file(
        tmp_path, "description: d\nmix: [{scenario: beside.yaml, weight: 3}, {scenario: code-completion}]\n"
    )
    parts = load_scenario(mixed).parts
    assert [(part.name, part.weight) for part in parts] == [("beside", 3), ("code-completion", 1)]
    assert parts[0].workload.max_tokens.mean == 7


def test_tags_choose_among_the_parts() -> None:
    assert [part.name for part in load_scenario("mixed", tags=["code", "rag"]).parts] == [
        "rag-summarize",
        "code-completion",
    ]
    without = load_scenario("mixed", exclude_tags=["long-prompt"])
    assert "rag-summarize" not in [part.name for part in without.parts]
    with pytest.raises(LoadTestError, match="the tags"):
        load_scenario("mixed", tags=["nothing-has-this"])


def test_another_duration_keeps_something_to_measure() -> None:
    assert load_scenario("long-generation").lasting(5).warmup_s == 1
    assert load_scenario("long-generation").lasting(100).warmup_s == 10
