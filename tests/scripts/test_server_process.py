"""The background server: started, found healthy or not, and always gone afterwards."""

import os
import socket
import sys
from pathlib import Path

import pytest

from console import Problem
from server_process import ServerProcess, require_free_port

HEALTHY = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
{extra}
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def start(program: str, folder: Path) -> ServerProcess:
    port = free_port()
    return ServerProcess([sys.executable, "-c", program, str(port)], port, folder / "server.log")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "extra",
    ["", pytest.param("signal.signal(signal.SIGTERM, signal.SIG_IGN)", marks=pytest.mark.slow, id="deaf to SIGTERM")],
)
def test_a_healthy_server_is_found_and_stopped_and_its_port_is_free_again(tmp_path: Path, extra: str) -> None:
    server = start(HEALTHY.format(extra=extra), tmp_path)
    server.wait_until_healthy(limit_s=20)
    with pytest.raises(Problem, match=f"Port {server.port} cannot be used"):
        require_free_port(server.port)
    server.stop()
    assert not is_running(server.pid)
    require_free_port(server.port)


def test_a_server_that_dies_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = start("import sys; sys.exit('no such model')", tmp_path)
    with pytest.raises(Problem, match=r"exit code 1:\nno such model"):
        server.wait_until_healthy(limit_s=20)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    server = start("import time; time.sleep(60)", tmp_path)
    try:
        with pytest.raises(Problem, match="did not become healthy within 1 s"):
            server.wait_until_healthy(limit_s=1)
    finally:
        server.stop()
    assert not is_running(server.pid)
