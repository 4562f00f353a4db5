"""Ratios of runs and their intervals: true ratios are found, and chance is not called a difference."""

from pathlib import Path
from random import Random

import pytest

from loadtest.command import main
from loadtest.compare import Ratio, compare, runs_in
from loadtest.errors import LoadTestError
from loadtest.llmload.record import ErrorKind, Record
from loadtest.mock.process import mock_server
from loadtest.scenario_files import load_scenario
from loadtest.summary import read_meta
from tests.loadtest.runs import record, write_run

ROUNDS = 3


def noisy(seed: int, factor: float = 1.0, count: int = 150) -> list[Record]:
    """Answers of about 100 ms to the first and 20 ms to the next tokens, times `factor`, spread by a fifth."""
    random = Random(seed)

    def around(value_s: float) -> float:
        return value_s * factor * random.lognormvariate(0, 0.2)

    return [record(0.35 * n, around(0.1), [around(0.02) for _ in range(20)]) for n in range(count)]


def ratio_named(name: str, ratios: list[Ratio]) -> Ratio:
    return next(ratio for ratio in ratios if ratio.name == name)


def rounds(folder: Path, seed: int, factor: float = 1.0) -> list[Path]:
    return [write_run(folder / f"{n}", noisy(seed + n, factor), seed=n) for n in range(ROUNDS)]


def test_a_server_a_third_slower_is_found_so(tmp_path: Path) -> None:
    ratios, doubts = compare(rounds(tmp_path / "a", 10), rounds(tmp_path / "b", 20, factor=4 / 3))
    assert doubts == []
    for name in ("TTFT p50", "TTFT p95", "ITL p50", "TPOT mean", "E2E p50"):
        found = ratio_named(name, ratios)
        assert found.differs
        assert found.low is not None
        assert found.high is not None
        assert found.low < 4 / 3 < found.high
        assert found.ratio == pytest.approx(4 / 3, rel=0.1)


def test_the_same_server_twice_seldom_differs(tmp_path: Path) -> None:
    """95 % intervals: of 32 comparisons of nothing with nothing, more than six would be surprising."""
    found = []
    for pair in range(4):
        one = write_run(tmp_path / f"a{pair}", noisy(100 + pair))
        other = write_run(tmp_path / f"b{pair}", noisy(200 + pair))
        found += [ratio.differs for ratio in compare([one], [other])[0]]
    assert len(found) == 32
    assert sum(found) <= 6


def test_gaps_of_one_request_are_drawn_together(tmp_path: Path) -> None:
    """Ten requests, each with gaps of its own speed: a thousand gaps are ten samples, and the interval is wide."""
    slow = [record(6.0 * n, gaps_s=[0.01 * (n + 1)] * 100) for n in range(10)]
    run = write_run(tmp_path / "a", slow)
    found = ratio_named("ITL p50", compare([run], [run])[0])
    assert found.low is not None
    assert found.high is not None
    assert found.high / found.low > 1.5


def test_throughput_is_compared_over_the_window(tmp_path: Path) -> None:
    often = write_run(tmp_path / "a", [record(0.25 * n) for n in range(240)])
    half = write_run(tmp_path / "b", [record(0.5 * n) for n in range(120)])
    found = ratio_named("output tokens/s", compare([often], [half])[0])
    assert found.a == pytest.approx(40, rel=0.03)
    assert found.ratio == pytest.approx(0.5, rel=0.03)
    assert found.differs


def test_the_same_seed_gives_the_same_interval(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", noisy(1)), write_run(tmp_path / "b", noisy(2))
    assert compare([a], [b]) == compare([a], [b])


def test_what_makes_runs_incomparable_is_said(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", noisy(1), seed=1)
    other = write_run(tmp_path / "b", noisy(1), seed=2, valid=False)
    _, doubts = compare([one], [other])
    assert any("b is INVALID" in doubt for doubt in doubts)
    assert any("not asked the same" in doubt for doubt in doubts)
    longer = write_run(tmp_path / "c", noisy(1), seed=1, scenario=load_scenario("chat", ["max_tokens=9", "warmup_s=0"]))
    assert any("not asked the same" in doubt for doubt in compare([one], [longer])[1])


def test_other_users_are_not_the_same_question(tmp_path: Path) -> None:
    four = write_run(tmp_path / "a", noisy(1))
    eight = write_run(tmp_path / "b", noisy(1), options={**read_meta(four)["options"], "users": 8})
    (doubt,) = compare([four], [eight])[1]
    assert "users differ" in doubt


@pytest.mark.parametrize(("failures", "doubted"), [(2, False), (30, True)])
def test_a_side_that_fails_more_is_named(tmp_path: Path, failures: int, doubted: bool) -> None:
    """0 of 150 is at most 2.5 %; 2 of 152 may be as little as 0.4 %, 30 of 180 is at least 12 %."""
    failed = [record(0.1 * n, error_kind=ErrorKind.HTTP) for n in range(failures)]
    one, other = write_run(tmp_path / "a", noisy(1)), write_run(tmp_path / "b", noisy(2) + failed)
    said = ["A failed 0 of 150 requests and B 30 of 180: the times leave these out."] if doubted else []
    assert compare([one], [other])[1] == said
    assert bool(compare([other], [one])[1]) is doubted


def test_a_figure_that_a_side_lacks_is_not_measured(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", [record(1, gaps_s=[], tokens=1)])
    found = ratio_named("ITL p50", compare([one], [one])[0])
    assert (found.ratio, found.low, found.differs) == (None, None, False)


def test_folders_of_runs_are_found_and_other_folders_refused(tmp_path: Path) -> None:
    written = rounds(tmp_path / "a", 1)
    assert runs_in(tmp_path / "a") == written
    assert runs_in(written[0]) == [written[0]]
    with pytest.raises(LoadTestError, match="is no run's folder"):
        runs_in(tmp_path)


def test_the_command_prints_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds(tmp_path / "a", 10)
    rounds(tmp_path / "b", 20, factor=2)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("differs") >= 5
    assert "TTFT p95" in printed


def test_two_servers_are_run_in_turns_with_the_same_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """B needs 30 ms for a token where A needs 10; the rounds are A B, B A."""
    with mock_server(itl_ms=10, tokens=8) as a, mock_server(itl_ms=30, tokens=8) as b:
        flags = ["--scenario", "long-generation", "-t", "2s", "-u", "2", "--set", "warmup_s=0"]
        main(["abab", "--a", a, "--b", b, "--rounds", "2", "--seed", "5", "--out", str(tmp_path), *flags])
    assert "TPOT mean" in capsys.readouterr().out
    metas = {folder: read_meta(tmp_path / folder) for folder in ("a/0", "b/0", "b/1", "a/1")}
    starts = [meta["started_unix_s"] for meta in metas.values()]
    assert starts == sorted(starts)
    assert [meta["options"]["seed"] for meta in metas.values()] == [5, 5, 6, 6]
    ratios, doubts = compare(runs_in(tmp_path / "a"), runs_in(tmp_path / "b"))
    assert ratio_named("TPOT mean", ratios).ratio == pytest.approx(3, rel=0.3)
    assert not any("not asked the same" in doubt for doubt in doubts)
