"""What is made of a run's records once it has ended."""

from pathlib import Path

from loadtest.report.page import write_report
from loadtest.summary import Summary, read_meta, samples_of, summarize, write_summary


def finish_run(folder: Path) -> Summary:
    """Write summary.json and report.html. Raises LoadTestError where there is no finished run."""
    meta = read_meta(folder)
    samples = samples_of(folder, meta)
    summary = summarize(samples, meta)
    write_summary(folder, summary)
    write_report(folder, summary, samples, meta)
    return summary
