"""The images' health check, run with the command line of a container's first process put in its place."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).parents[2] / "docker/healthcheck.py"
CLOSED_PORT = "1"


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def exit_code(folder: Path, arguments: list[str], variable: str) -> int:
    first_process = folder / "cmdline"
    first_process.write_text("\0".join(["text-generation-launcher", "--model-id", "m", *arguments, ""]))
    script = folder / SCRIPT.name
    text = SCRIPT.read_text(encoding="utf-8")
    assert "/proc/1/cmdline" in text
    script.write_text(text.replace("/proc/1/cmdline", str(first_process)), encoding="utf-8")
    command = [sys.executable, script]
    return subprocess.run(command, env={"PORT": variable}, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize("spelling", ["--port {}", "--port={}", "-p {}", "-p{}", "-p={}"])
def test_the_port_is_found_however_the_command_line_spells_it(spelling: str, port: str, tmp_path: Path) -> None:
    assert exit_code(tmp_path, spelling.format(port).split(), CLOSED_PORT) == 0


def test_the_variable_stands_where_the_command_line_says_none(port: str, tmp_path: Path) -> None:
    assert exit_code(tmp_path, ["--hostname", "0.0.0.0"], port) == 0
    assert exit_code(tmp_path, ["--hostname", "0.0.0.0"], CLOSED_PORT) != 0
