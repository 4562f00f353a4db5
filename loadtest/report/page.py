"""report.html of a run's folder."""

from pathlib import Path
from typing import Any

import jinja2
import orjson
import yaml
from markupsafe import Markup

from loadtest.distribution import PERCENTILES
from loadtest.report.chart import Chart, svg
from loadtest.report.charts import latency_charts, time_charts
from loadtest.samples import Samples
from loadtest.server_metrics import read_server_metrics
from loadtest.summary import LATENCIES, Summary

REPORT = "report.html"
TEMPLATES = Path(__file__).parent
LATENCY_NAMES = ("Time to first token (TTFT)", "Between tokens (ITL)", "Per output token (TPOT)", "Whole answer (E2E)")


def render(template: str, **values: Any) -> str:
    """A page from its template; charts are drawn with `svg`, times in seconds shown with the filter `ms`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["ms"] = milliseconds
    return environment.get_template(template).render(svg=_svg, **values)


def write_report(folder: Path, summary: Summary, samples: Samples, meta: dict[str, Any]) -> Path:
    charts = latency_charts(samples) + time_charts(samples, read_server_metrics(folder), meta)
    page = render(
        "run.html.j2",
        summary=summary,
        meta=meta,
        charts=[chart for chart in charts if chart.has_points],
        latencies=dict(zip(LATENCIES, LATENCY_NAMES, strict=True)),
        percentiles=list(PERCENTILES),
        limits={part["name"]: part["workload"]["slo"] for part in meta["options"]["scenario"]["parts"]},
        scenario=yaml.safe_dump(meta["options"]["scenario"], sort_keys=False, allow_unicode=True),
        server=orjson.dumps(meta["options"]["server"], option=orjson.OPT_INDENT_2).decode(),
    )
    (folder / REPORT).write_text(page, encoding="utf-8")
    return folder / REPORT


def milliseconds(value_s: float | None) -> str:
    """A time with as many digits as matter, or a dash."""
    if value_s is None:
        return "-"
    value_ms = value_s * 1000
    return f"{value_ms:.0f}" if value_ms >= 100 else f"{value_ms:.1f}" if value_ms >= 10 else f"{value_ms:.2f}"


def _svg(chart: Chart) -> Markup:
    return Markup(svg(chart))
