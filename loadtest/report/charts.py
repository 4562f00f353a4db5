"""The charts of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.distribution import Floats
from loadtest.report.chart import Chart, Series
from loadtest.samples import Samples, ttft_s
from loadtest.server_metrics import Values
from loadtest.timeline import timeline_of

CURVE_POINTS = 300
MOST_DOTS = 2000
SERVER_GAUGES = {
    "tgi_queue_size": "waiting",
    "tgi_batch_current_size": "in the batch",
    "vllm:num_requests_waiting": "waiting",
    "vllm:num_requests_running": "in the batch",
}


def latency_charts(samples: Samples) -> list[Chart]:
    request_times = {"TTFT": samples.ttft_s, "E2E": samples.e2e_s}
    token_times = {"ITL": samples.itl_s, "TPOT": samples.tpot_s}
    return [
        _cumulative("Latency of requests", request_times),
        _cumulative("Latency of tokens", token_times),
        _ttft_by_prompt(samples),
    ]


def time_charts(samples: Samples, scrapes: Sequence[tuple[float, Values]], meta: Mapping[str, Any]) -> list[Chart]:
    line = timeline_of(samples.records)
    warm = [(samples.window.start_s, "measured from here")] if samples.window.start_s else []
    throughput = Series("tokens/s", line.time_s, line.output_tokens)
    return [
        Chart("Throughput", "s", "output tokens/s", [throughput], vertical=warm),
        Chart("Requests under way", "s", "requests", [Series("client", line.time_s, line.under_way)], vertical=warm),
        Chart("Requests begun and failed", "s", "requests/s",
              [Series("begun", line.time_s, line.begun), Series("failed", line.time_s, line.errors)], "steps"),
        _server_queue(scrapes, meta["started_unix_s"]),
        _clients(meta["workers"]),
    ]  # fmt: skip


def saturation_chart(points: Sequence[Mapping[str, Any]], knee: int | None) -> Chart:
    ordered = sorted(points, key=lambda point: point["users"])
    users = [point["users"] for point in ordered]
    rates = [point["output_tokens_per_s"] for point in ordered]
    marks = [] if knee is None else [(float(knee), f"most within the limits: {knee}")]
    return Chart("Saturation", "users", "output tokens/s", [Series("tokens/s", users, rates)], vertical=marks)


def attainment_chart(points: Sequence[Mapping[str, Any]], knee: int | None) -> Chart:
    ordered = sorted(points, key=lambda point: point["users"])
    users = [point["users"] for point in ordered]
    shares = [100 * point["share"] for point in ordered]
    marks = [] if knee is None else [(float(knee), f"{knee}")]
    return Chart("Requests within the limits", "users", "%", [Series("share", users, shares)], vertical=marks)


def _cumulative(title: str, samples: Mapping[str, Floats]) -> Chart:
    percents = np.linspace(0, 100, CURVE_POINTS)
    series = []
    for name, values_s in samples.items():
        known_ms = values_s[~np.isnan(values_s)] * 1000
        if len(known_ms):
            series.append(Series(name, np.maximum(np.percentile(known_ms, percents), 1e-3), percents))
    return Chart(title, "ms (logarithmic)", "% not above", series, log_x=True)


def _ttft_by_prompt(samples: Samples) -> Chart:
    pairs = [(r.prompt_tokens, ttft_s(r) * 1000) for r in samples.succeeded if r.prompt_tokens and r.first_token_s]
    shown = pairs[:: max(1, len(pairs) // MOST_DOTS)]
    points = Series("requests", [tokens for tokens, _ in shown], [time_ms for _, time_ms in shown])
    return Chart("TTFT by length of the prompt", "prompt tokens", "ms", [points], "dots")


def _server_queue(scrapes: Sequence[tuple[float, Values]], started_unix_s: float) -> Chart:
    series = []
    for gauge, name in SERVER_GAUGES.items():
        points = [(unix_s - started_unix_s, values[gauge]) for unix_s, values in scrapes if gauge in values]
        if points:
            series.append(Series(name, [at_s for at_s, _ in points], [value for _, value in points]))
    return Chart("The server's own queue and batch", "s", "requests", series)


def _clients(workers: Sequence[Mapping[str, Any]]) -> Chart:
    series = [
        Series(w["worker"], [s["at_s"] for s in w["samples"]], [100 * s["cpu_share"] for s in w["samples"]])
        for w in workers[:8]
        if w["samples"]
    ]
    return Chart("CPU of the load test's workers", "s", "% of a core", series)
