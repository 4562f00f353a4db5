"""guidellm itself (the package, in an environment of its own): what a token costs it.

Its start is dear, so the cost is that of a long run minus that of a short one, of all its processes.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

TOKENS_PER_ANSWER = 40
MAX_REQUESTS = 20_000


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    tokens: int


def cpu_us_per_token(program: Path, url: str, streams: int, seconds: float) -> float:
    short, long = (run(program, url, streams, duration_s) for duration_s in (seconds, 3 * seconds))
    return (long.cpu_s - short.cpu_s) / (long.tokens - short.tokens) * 1e6


def run(program: Path, url: str, streams: int, seconds: float) -> Cost:
    with tempfile.TemporaryDirectory() as parent:
        prompts, report = Path(parent) / "prompts.jsonl", Path(parent) / "report.json"
        prompts.write_text('{"prompt":"What is a list and why?"}\n' * MAX_REQUESTS)
        options = {
            "--backend": f"kind=openai_http,target={url},model=emitter",
            "--profile": f"kind=concurrent,streams={streams}",
            "--constraint": f"kind=max_duration,seconds={seconds}",
            "--data": f"kind=json_file,path={prompts}",
            "--output": f"kind=json,path={report}",
        }
        command = [str(program), "run", "--disable-console", *(part for option in options.items() for part in option)]
        process = subprocess.Popen(
            command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if not report.exists():
            raise RuntimeError(f"{program} ended with {process.returncode} and without a report")
        (benchmark,) = json.loads(report.read_text())["benchmarks"]
    answers = benchmark["metrics"]["request_totals"]["successful"]
    return Cost(usage.ru_utime + usage.ru_stime, answers * TOKENS_PER_ANSWER)
