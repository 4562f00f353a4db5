"""A real server process for tests, and ways to talk to it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

START_TIMEOUT_S = 60.0
COMMAND = [str(Path(sys.executable).with_name("tgi-autoround")), "serve"]


class LiveServer:
    """`tgi-autoround serve` on a free port; `http` is a client for it."""

    def __init__(self, model: Path | str, log: Path, *options: str, **environment: str) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "--model-id", str(model), "--hostname", "127.0.0.1", "--port", "0", *options],
                stderr=output,
                stdout=output,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
        self.url = self._wait_until_connected()
        self.http = httpx.Client(base_url=self.url, timeout=60)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", int(self.url.rsplit(":", 1)[1])

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """POST a JSON body."""
        return self.http.post(path, json=body)

    def generate(self, inputs: str, **parameters: Any) -> dict[str, Any]:
        """Return the JSON of a successful /generate."""
        response = self.post("/generate", {"inputs": inputs, "parameters": parameters})
        assert response.status_code == 200, response.text
        return response.json()

    def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """Return the data of every event of a stream: parsed JSON, or the text "[DONE]"."""
        with self.stream(path, body) as events:
            return list(events)

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[Any]]:
        """Open a stream; leaving the context leaves the stream."""
        with self.http.stream("POST", path, json=body) as response:
            assert response.status_code == 200
            yield _parse_events(response.iter_bytes())

    def metric(self, name: str, labels: str = "") -> float:
        """Return the value of one sample of /metrics."""
        match = re.search(rf"^{re.escape(name + labels)} (\S+)$", self.http.get("/metrics").text, re.MULTILINE)
        assert match, f"{name}{labels} is not among the metrics"
        return float(match[1])

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """End the process however it is."""
        self.http.close()
        if self.process.poll() is None:
            self.terminate()

    def _wait_until_connected(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if match := re.search(r"Connected: http://127\.0\.0\.1:(\d+)", self._log.read_text()):
                url = f"http://127.0.0.1:{match[1]}"
                _wait_for_health(url, deadline)
                return url
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self._log.read_text()}")


def near(value: Any) -> Any:
    """Return what equals `value` up to the rounding of its numbers, which depends on what else is computed beside."""
    if isinstance(value, dict):
        return {name: near(part) for name, part in value.items()}
    if isinstance(value, list):
        return [near(part) for part in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


def wait_for(condition: Any, timeout_s: float = 5.0) -> bool:
    """Return whether `condition()` became true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _parse_events(chunks: Iterator[bytes]) -> Iterator[Any]:
    """Split at line feeds only: generated text may hold U+2028 and the like, which httpx takes for line ends."""
    buffer = b""
    for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data = line.removeprefix(b"data:").strip()
                yield "[DONE]" if data == b"[DONE]" else json.loads(data)


def _wait_for_health(url: str, deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/health").raise_for_status()
            return
        except httpx.ConnectError:
            time.sleep(0.05)
