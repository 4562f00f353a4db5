"""Runs of Locust without its web page, one after the other, for what needs more than one."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.summary import Summary, is_used, read_summary

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LOG = "locust.log"


def run_locust(host: str, out: Path, flags: Sequence[str]) -> Summary:
    """Run one load test to its end and return its figures; failed requests are in them, and no error.

    Raises LoadTestError where `out` holds an earlier run, or the run itself failed; its log is in `out`.
    """
    if is_used(out):
        raise LoadTestError(f"{out} holds an earlier run; give another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--host", host, "--out", str(out), "--exit-code-on-error", "0", *flags]
    with (out / LOG).open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        last = (out / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        raise LoadTestError(
            "\n".join([f"Locust ended with exit code {code}; its log is {out / LOG}. It ends with:", *last])
        )
    return read_summary(out)
