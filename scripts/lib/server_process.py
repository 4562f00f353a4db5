"""The server as a background process: started, waited for, asked, stopped."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from console import Problem

HOST = "127.0.0.1"
_POLL_INTERVAL_S = 0.25
_STOP_LIMIT_S = 20
_SHOWN_LOG_LINES = 15


def require_free_port(port: int) -> None:
    with socket.socket() as probe:
        # A port with closed connections in TIME_WAIT can be listened on; one with a listener cannot.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise Problem(
                f"Port {port} cannot be used ({error.strerror}): stop what listens there, or choose another by --port."
            ) from None


class ServerProcess:
    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches this program only, which then stops the server in order.
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_healthy(self, limit_s: float) -> None:
        deadline_s = time.monotonic() + limit_s
        while not self._is_healthy():
            if self._process.poll() is not None:
                raise Problem(f"The server stopped with exit code {self._process.returncode}:\n{self._log_end()}")
            if time.monotonic() > deadline_s:
                raise Problem(f"The server did not become healthy within {limit_s:.0f} s:\n{self._log_end()}")
            time.sleep(_POLL_INTERVAL_S)

    def ask(self, question: str, max_tokens: int) -> str:
        """The answer to one chat question."""
        body = {"model": "tgi", "messages": [{"role": "user", "content": question}], "max_tokens": max_tokens}
        status, answer = self._request("POST", "/v1/chat/completions", json.dumps(body))
        if status != http.client.OK:
            raise Problem(f"The server answered {status} to a chat question: {answer}")
        return str(json.loads(answer)["choices"][0]["message"]["content"]).strip()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _is_healthy(self) -> bool:
        try:
            return self._request("GET", "/health")[0] == http.client.OK
        except OSError:
            return False

    def _request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            headers: dict[str, Any] = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def _log_end(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([*lines[-_SHOWN_LOG_LINES:], f"(log: {self.log})"])
