"""The quickstart's figures of its load test."""

from typing import Any

from load_run import summary_table

TIMES = {"p50": 0.0123, "p90": 0.5, "p99": None}


def figures(*invalid_because: str) -> dict[str, Any]:
    return {
        "valid": not invalid_because,
        "invalid_because": list(invalid_because),
        "requests": 40,
        "failures": 1,
        "output_tokens_per_s": 123.45,
        "ttft_s": TIMES,
        "itl_s": TIMES,
        "e2e_s": dict.fromkeys(TIMES),
    }


def test_figures_are_rows_and_percentiles_of_too_few_samples_are_left_out() -> None:
    table = summary_table(figures(), original_bytes=4_000_000, quantized_bytes=1_000_000)
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert rows == [
        "Requests 40 (1 failed)",
        "Output tokens/s 123.5",
        "Time to first token p50 12.3 ms p90 500.0 ms",
        "Between tokens p50 12.3 ms p90 500.0 ms",
        "Whole answer none measured",
        "Weights 4.0 MB before, 1.0 MB after",
    ]


def test_an_invalid_runs_figures_come_with_the_reason() -> None:
    table = summary_table(figures("the client was too busy."), original_bytes=None, quantized_bytes=1)
    assert table.splitlines()[-1].split(maxsplit=2) == ["INVALID", "run", "the client was too busy."]
