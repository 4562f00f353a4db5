"""What the server says about itself during a run: /info once, /metrics every second."""

import re
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import gevent
import orjson

SERVER_METRICS = "server.jsonl"
INTERVAL_S = 1.0
TIMEOUT_S = 5.0
SAMPLE_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{.*\})? (?P<value>\S+)")
KEPT_PREFIXES = ("tgi_", "vllm:", "process_resident_memory_bytes")

Values = dict[str, float]


def parse_metrics(text: str) -> Values:
    """Sums over labels of the samples of interest in Prometheus' text format, without the buckets of histograms."""
    values: Values = defaultdict(float)
    for line in text.splitlines():
        match = SAMPLE_LINE.match(line)
        if match and match["name"].startswith(KEPT_PREFIXES) and not match["name"].endswith("_bucket"):
            values[match["name"]] += float(match["value"])
    return dict(values)


class Scraper:
    """Writes one JSON line a second into the run's folder until it is stopped; a server without /metrics gives none."""

    def __init__(self, base_url: str, folder: Path, api_key: str | None) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._file = folder / SERVER_METRICS
        self._file.write_bytes(b"")
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        self._greenlet.kill()

    def _run(self) -> None:
        while True:
            started_s = time.monotonic()
            if text := _get(self._base_url, "/metrics", self._api_key):
                self._write({"unix_s": time.time(), "values": parse_metrics(text.decode(errors="replace"))})
            gevent.sleep(max(0.0, INTERVAL_S - (time.monotonic() - started_s)))

    def _write(self, line: dict[str, Any]) -> None:
        with self._file.open("ab") as file:
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def server_info(base_url: str, api_key: str | None = None) -> dict[str, Any]:
    """What /info says (model, limits, version); empty where the server has none."""
    try:
        info = orjson.loads(_get(base_url, "/info", api_key) or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return info if isinstance(info, dict) else {}


def _get(base_url: str, path: str, api_key: str | None) -> bytes | None:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    request = urllib.request.Request(base_url.rstrip("/") + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            body: bytes = response.read()
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return body


def read_server_metrics(folder: Path) -> list[tuple[float, Values]]:
    """Unix time and values of each scrape."""
    file = folder / SERVER_METRICS
    if not file.exists():
        return []
    lines = (orjson.loads(line) for line in file.read_bytes().splitlines())
    return [(line["unix_s"], line["values"]) for line in lines]
