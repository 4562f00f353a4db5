"""The report: complete, self-contained, and laid out by a real browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from loadtest.command import main
from loadtest.finish import finish_run
from loadtest.llmload.record import ErrorKind, Record
from loadtest.report.chart import Chart, Series, svg
from loadtest.report.page import milliseconds
from loadtest.report.scale import scale_for
from loadtest.saturation import Curve, Point, write_curve
from loadtest.scenario_files import load_scenario
from tests.loadtest import chromium
from tests.loadtest.runs import record, write_run

CHARTS = [
    "Latency of requests", "Latency of tokens", "TTFT by length of the prompt", "Throughput", "Requests under way",
    "Requests begun and failed", "The server's own queue and batch", "CPU of the load test's workers",
]  # fmt: skip


def busy_run() -> list[Record]:
    random = Random(0)
    records = [
        record(
            0.01 + 0.1 * number,
            ttft_s=random.lognormvariate(-2, 0.5),
            gaps_s=[random.lognormvariate(-4, 0.3) for _ in range(random.randint(5, 60))],
            prompt_tokens=random.randint(10, 1500),
            late_s=0.001,
            scenario=random.choice(["chat", "code-completion"]),
        )
        for number in range(500)
    ]
    return [*records, record(51.0, error_kind=ErrorKind.SERVER_ERROR, late_s=0.0)]


def scrapes() -> bytes:
    lines = [
        {"unix_s": 1_700_000_000.0 + second, "values": {"tgi_queue_size": second % 5, "tgi_batch_current_size": 8}}
        for second in range(50)
    ]
    return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    arrivals = "arrivals={process: poisson, rate_per_s: 10}"
    mixed = load_scenario("mixed", ["warmup_s=5", arrivals, "mix=[{scenario: burst}, {scenario: code-completion}]"])
    chat = mixed.parts[0].model_copy(update={"name": "chat"})
    write_run(folder, busy_run(), scenario=mixed.model_copy(update={"parts": (chat, mixed.parts[1])}))
    (folder / "server.jsonl").write_bytes(scrapes())
    finish_run(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text()


@pytest.fixture(scope="module")
def laid_out(run: Path) -> dict[str, Any]:
    return chromium.measured(run / "report.html")


class References(HTMLParser):
    """Everything that would make a browser fetch or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in {"script", "link", "img", "iframe", "object", "embed"} else []
        self.found += [f"{tag} {name}" for name, _ in attributes if name in {"src", "href", "srcset", "data"}]


def test_the_page_needs_nothing_else(page: str) -> None:
    references = References()
    references.feed(page)
    assert references.found == []
    assert "@import" not in page
    assert "url(" not in page


def test_the_page_holds_the_figures_of_the_summary(run: Path, page: str) -> None:
    summary = orjson.loads((run / "summary.json").read_bytes())
    assert f"<b>{summary['output_tokens_per_s']:.1f}</b>" in page
    for latency in ("ttft_s", "itl_s", "tpot_s", "e2e_s"):
        for name in ("mean", "p50", "p99", "max"):
            assert f"<td>{milliseconds(summary[latency][name])}</td>" in page
    assert "server_error" in page
    assert "code-completion" in page


def test_every_chart_is_there_and_drawn_inside_its_frame(laid_out: dict[str, Any]) -> None:
    assert [chart["title"] for chart in laid_out["charts"]] == CHARTS
    for chart in laid_out["charts"]:
        frame = chart["frame"]
        assert chart["drawn"], chart["title"]
        for drawn in chart["drawn"]:
            box = drawn["box"]
            assert frame["left"] <= box["left"] <= box["right"] <= frame["right"], chart["title"]
            assert frame["top"] <= box["top"] <= box["bottom"] <= frame["bottom"], chart["title"]
            assert drawn["color"] not in ("none", "rgb(0, 0, 0)"), chart["title"]
        assert max(drawn["box"]["right"] for drawn in chart["drawn"]) > frame["left"] + frame["width"] / 2


def test_labels_of_an_axis_do_not_overlap(laid_out: dict[str, Any]) -> None:
    for chart in laid_out["charts"]:
        boxes = [label["box"] for label in chart["labels"]]
        assert len(boxes) >= 6, chart["title"]
        for number, one in enumerate(boxes):
            for other in boxes[:number]:
                apart = one["left"] >= other["right"] or other["left"] >= one["right"]
                above = one["top"] >= other["bottom"] or other["top"] >= one["bottom"]
                assert apart or above, chart["title"]


def test_the_page_fits_a_desktop_and_a_narrow_window(run: Path, laid_out: dict[str, Any]) -> None:
    for found in (laid_out, chromium.measured(run / "report.html", width=500)):
        assert found["needed_width"] <= found["page_width"]


def test_a_picture_can_be_taken_of_it(run: Path) -> None:
    chromium.screenshot(run / "report.html", run / "report.png")
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "report.png").stat().st_size > 50_000


def test_an_invalid_run_says_so_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, [record(1)], valid=False)
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.index("INVALID") < page.index("output tokens/s")
    assert "the client was too busy." in page
    assert "INVALID" in capsys.readouterr().out


def test_text_from_outside_is_not_taken_for_html(tmp_path: Path) -> None:
    scenario = load_scenario("chat", ["warmup_s=0", "description=<script>alert(1)</script>"])
    finish_run(write_run(tmp_path, [record(1)], scenario=scenario, host="http://x/<b>"))
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "http://x/&lt;b&gt;" in page
    drawn = svg(Chart("<b>'\"", "<i>", "<u>", [Series("<b>", [1], [1])], vertical=[(0.5, "<s>")]))
    assert not any(tag in drawn for tag in ("<b>", "<i>", "<u>", "<s>", '\'""'))


def test_a_run_without_answers_still_has_a_report(tmp_path: Path) -> None:
    finish_run(write_run(tmp_path, [record(1, error_kind=ErrorKind.CONNECT)]))
    assert "connect" in (tmp_path / "report.html").read_text()


def test_the_command_prints_the_table_of_an_earlier_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"TTFT\s+│\s+\d+ │", printed)
    assert "goodput" in printed


def test_a_saturation_curve_is_drawn_with_its_knee(tmp_path: Path) -> None:
    points = [
        Point(users, users < 8, 50, 1.0 if users < 8 else 0.4, 30.0 * users, 0.1, 0.02, True) for users in (1, 2, 4, 8)
    ]
    write_curve(tmp_path, Curve(tuple(points), 4, False), "saturation at http://host")
    found = chromium.measured(tmp_path / "report.html")
    assert [chart["title"] for chart in found["charts"]] == ["Saturation", "Requests within the limits"]
    assert "most within the limits: 4" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", [[0.0], [3.0, 3.0], [0.001, 900.0], [17, 18, 19], [99.9, 100.1], [1e-9, 2e9]])
def test_an_axis_holds_its_values_and_has_ticks_in_order(values: list[float], logarithmic: bool) -> None:
    scale = scale_for(values, 50, 500, logarithmic)
    shown = [value for value in values if value > 0 or not logarithmic]
    assert all(scale.low <= value <= scale.high for value in shown)
    assert all(50 <= scale.px(value) <= 500 for value in values)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 20
    assert ticks == sorted(ticks)
    assert all(scale.low * 0.999 <= tick <= scale.high * 1.001 for tick in ticks)
