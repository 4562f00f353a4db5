"""The search for the knee, against servers whose knee is known."""

from pathlib import Path

import orjson
import pytest

from loadtest.command import main
from loadtest.mock.process import mock_server
from loadtest.saturation import Curve, Point, find_knee
from loadtest.scenario import Search
from tests.loadtest.runs import write_run


def search_to(knee: int, first_users: int = 1, most_users: int = 256) -> Curve:
    def measure(users: int) -> Point:
        return Point(users, users <= knee, 100, 1.0 if users <= knee else 0.5, 10.0 * users, 0.1, 0.01, True)

    return find_knee(measure, Search(first_users=first_users, most_users=most_users))


@pytest.mark.parametrize("knee", [1, 2, 3, 7, 15, 16, 31])
def test_small_knees_are_found_exactly(knee: int) -> None:
    assert search_to(knee).knee == knee


@pytest.mark.parametrize("knee", [33, 64, 100, 127, 200, 255])
def test_larger_knees_are_found_within_a_sixteenth(knee: int) -> None:
    found = search_to(knee)
    assert found.knee is not None
    assert knee * 15 / 16 - 1 <= found.knee <= knee
    assert len(found.points) <= 14


def test_users_double_before_they_are_bisected() -> None:
    assert [point.users for point in search_to(11).points] == [1, 2, 4, 8, 16, 12, 10, 11]


def test_a_server_that_fails_at_once_has_no_knee() -> None:
    found = search_to(0)
    assert (found.knee, [point.users for point in found.points]) == (None, [1])


def test_a_knee_beyond_the_most_users_is_said_to_be() -> None:
    found = search_to(1000, most_users=48)
    assert (found.knee, found.limit_reached) == (48, True)
    assert [point.users for point in found.points] == [1, 2, 4, 8, 16, 32, 48]


@pytest.mark.parametrize(
    ("invalid", "knee", "tried"), [(1, None, [1]), (8, 4, [1, 2, 4, 8]), (12, 8, [1, 2, 4, 8, 16, 12])]
)
def test_an_invalid_point_ends_the_search_and_counts_for_nothing(
    invalid: int, knee: int | None, tried: list[int]
) -> None:
    def measure(users: int) -> Point:
        return Point(users, users < 14, 100, 1.0, 10.0, 0.1, 0.01, valid=users != invalid)

    found = find_knee(measure, Search(first_users=1, most_users=64))
    assert (found.knee, [point.users for point in found.points]) == (knee, tried)
    assert found.ended_invalid


def test_a_search_that_measured_the_client_is_invalid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All tokens of an answer come at once, so that no gap between them is known."""
    changes = ("search.step_s=2", "search.min_requests=5", "warmup_s=0.2")
    with mock_server(ttft_ms=50, itl_ms=0, tokens=10) as url:
        code = main(["saturate", "--host", url, "--out", str(tmp_path), *(f"--set={change}" for change in changes)])
    assert code == 3
    assert "the client was the bottleneck" in capsys.readouterr().out
    assert "the client was the bottleneck" in (tmp_path / "report.html").read_text()


def test_the_slots_of_a_server_are_its_knee(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three slots, answers of 275 ms, the first token after 50 ms: a fourth user waits some 90 ms for a slot.

    Tokens 75 ms apart come singly even on a busy machine.
    """
    search = ("search.step_s=2", "search.min_requests=5", "search.attainment=0.75", "warmup_s=0.2")
    slo = ("slo.ttft_s=0.1", "slo.tpot_s=1")
    changes = [f"--set={change}" for change in search + slo]
    with mock_server(slots=3, ttft_ms=50, itl_ms=75, tokens=4) as url:
        code = main(["saturate", "--host", url, "--out", str(tmp_path), *changes])
    printed = capsys.readouterr().out
    assert code == 0
    result = orjson.loads((tmp_path / "saturation.json").read_bytes())
    assert result["knee"] == 3
    assert [point["users"] for point in result["points"]] == [1, 2, 4, 3]
    assert "Within the limits: 3 users" in printed
    assert printed.count("output tokens/s") == 4
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_a_scenario_without_a_search_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["saturate", "--host", "http://127.0.0.1:9", "--out", "x", "--scenario", "chat"]) == 2
    assert "no section `search`" in capsys.readouterr().err


@pytest.mark.parametrize("crashed", [False, True])
def test_an_earlier_searchs_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], crashed: bool
) -> None:
    earlier = write_run(tmp_path / "users-1/0", [])
    if crashed:
        (earlier / "meta.json").unlink()
        (earlier / "records.jsonl").rename(earlier / "records-w0.jsonl")
    assert main(["saturate", "--host", "http://127.0.0.1:9", "--out", str(tmp_path)]) == 2
    assert "holds an earlier run" in capsys.readouterr().err
