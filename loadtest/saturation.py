"""The most users a server serves within the limits: doubled until it fails, then bisected."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from loadtest.errors import LoadTestError
from loadtest.headless import run_locust
from loadtest.report.charts import attainment_chart, saturation_chart
from loadtest.report.page import render
from loadtest.scenario import Search

RESULT = "saturation.json"
REPORT = "report.html"
RESOLUTION = 1 / 16
"""The search ends once the knee is known within this share of itself."""
MOST_LENGTHENINGS = 3


@dataclass(frozen=True)
class Point:
    """What a number of users got, and whether enough of their requests kept the limits."""

    users: int
    passed: bool
    requests: int
    share: float
    output_tokens_per_s: float
    ttft_p50_s: float | None
    tpot_p50_s: float | None
    valid: bool


@dataclass(frozen=True)
class Curve:
    """All points in the order they were measured; `knee` is the most users that passed, None if none did."""

    points: tuple[Point, ...]
    knee: int | None
    limit_reached: bool
    """Whether even the most users that were allowed passed, so that the knee lies further out."""

    @property
    def ended_invalid(self) -> bool:
        """Whether the search ended because the last point says nothing about the server."""
        return not self.points[-1].valid


def find_knee(measure: Callable[[int], Point], search: Search) -> Curve:
    """Measure 1, 2, 4 ... users (from `first_users`) until one fails, then between the last two.

    An INVALID point ends the search and counts for nothing.
    """
    points: list[Point] = []

    def passes(users: int) -> bool:
        points.append(measure(users))
        return points[-1].passed and points[-1].valid

    passed, users = 0, search.first_users
    while passes(users):
        passed = users
        if users >= search.most_users:
            return Curve(tuple(points), passed, True)
        users = min(2 * users, search.most_users)
    failed = users
    while points[-1].valid and passed and failed - passed > max(1, int(passed * RESOLUTION)):
        middle = (passed + failed) // 2
        if passes(middle):
            passed = middle
        else:
            failed = middle
    return Curve(tuple(points), passed or None, False)


class Measurement:
    """Measures points by running the scenario in a closed loop of so many users."""

    def __init__(
        self, host: str, out: Path, search: Search, flags: list[str], on_point: Callable[[Point], None]
    ) -> None:
        self._host = host
        self._out = out
        self._search = search
        self._flags = flags
        self._on_point = on_point

    def __call__(self, users: int) -> Point:
        """Runs longer where too few requests were answered. Raises LoadTestError where even that is not enough."""
        for lengthening in range(MOST_LENGTHENINGS + 1):
            step_s = self._search.step_s * 2**lengthening
            folder = self._out / f"users-{users}" / str(lengthening)
            summary = run_locust(self._host, folder, ["-u", str(users), "-t", f"{step_s:g}s", *self._flags])
            if summary["requests"] >= self._search.min_requests:
                share = summary["goodput"]["share"]
                point = Point(
                    users=users,
                    passed=share >= self._search.attainment,
                    requests=summary["requests"],
                    share=share,
                    output_tokens_per_s=summary["output_tokens_per_s"],
                    ttft_p50_s=summary["ttft_s"]["p50"],
                    tpot_p50_s=summary["tpot_s"]["p50"],
                    valid=summary["valid"],
                )
                self._on_point(point)
                return point
        raise LoadTestError(
            f"{users} users got {summary['requests']} answers in {step_s:g} s, and {self._search.min_requests} are "
            "needed for a point: raise search.step_s, or lower max_tokens."
        )


def write_curve(folder: Path, curve: Curve, title: str) -> None:
    """saturation.json and report.html."""
    content = asdict(curve)
    (folder / RESULT).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    charts = [saturation_chart(content["points"], curve.knee), attainment_chart(content["points"], curve.knee)]
    page = render("saturation.html.j2", title=title, curve=curve, charts=charts)
    (folder / REPORT).write_text(page, encoding="utf-8")
