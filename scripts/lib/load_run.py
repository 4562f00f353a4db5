"""Twenty seconds of load from Locust, and its figures as a table."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console import Problem
from paths import ROOT

USERS = 4
DURATION_S = 20


@dataclass(frozen=True)
class LoadRun:
    figures: dict[str, Any]
    html_report: Path


def run_load_test(bin_folder: Path, url: str, folder: Path) -> LoadRun:
    """Chats without pauses against `url`; report, summary, records and log replace what `folder` held."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    summary, log = folder / "summary.json", folder / "locust.log"
    command = [str(bin_folder / "locust"), "--locustfile", str(ROOT / "loadtest/locustfile.py"), "--headless"]
    command += ["--scenario", "chat", "--set", "arrivals.think_time_s=0", "--users", str(USERS)]
    command += ["--run-time", f"{DURATION_S}s", "--stop-timeout", "30", "--host", url, "--out", str(folder)]
    with log.open("wb") as output:
        subprocess.run(command, stdout=output, stderr=output, check=False)
    if not summary.exists():
        raise Problem(f"The load test did not finish; its log is {log}.")
    return LoadRun(json.loads(summary.read_text(encoding="utf-8")), folder / "report.html")


def summary_table(figures: dict[str, Any], original_bytes: int | None, quantized_bytes: int) -> str:
    size = f"{quantized_bytes / 1e6:.1f} MB"
    rows = [
        ("Requests", f"{figures['requests']} ({figures['failures']} failed)"),
        ("Output tokens/s", f"{figures['output_tokens_per_s']:.1f}"),
        ("Time to first token", _percentiles(figures["ttft_s"])),
        ("Between tokens", _percentiles(figures["itl_s"])),
        ("Whole answer", _percentiles(figures["e2e_s"])),
        ("Weights", f"{original_bytes / 1e6:.1f} MB before, {size} after" if original_bytes else f"{size} after"),
    ]
    if not figures["valid"]:
        rows.append(("INVALID run", " ".join(figures["invalid_because"])))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _percentiles(distribution: dict[str, float | None]) -> str:
    """Those that enough samples were taken for."""
    known = {name: value_s for name in ("p50", "p90", "p99") if (value_s := distribution[name]) is not None}
    return "   ".join(f"{name} {value_s * 1000:7.1f} ms" for name, value_s in known.items()) or "none measured"
