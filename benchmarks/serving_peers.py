"""The three servers that `serve.py` compares, as processes that work one at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OURS, TRANSFORMERS, LLAMA_CPP = "tgi-autoround", "transformers serve", "llama.cpp"
PORT_OF = {OURS: 8181, TRANSFORMERS: 8182, LLAMA_CPP: 8183}
HEALTH_PATH_OF = {OURS: "/health", TRANSFORMERS: "/health", LLAMA_CPP: "/v1/models"}
START_TIMEOUT_S = 300


@dataclass
class Server:
    """A running server; between `resumed` blocks its process is stopped, so that it takes no processor time."""

    name: str
    process: "subprocess.Popen[bytes]"

    @property
    def port(self) -> int:
        """Where it listens."""
        return PORT_OF[self.name]

    @contextlib.contextmanager
    def resumed(self) -> Iterator[None]:
        """Let the process run inside the block."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def serving(checkpoint: Path, gguf: Path | None, llama_python: Path | None) -> Iterator[dict[str, Server]]:
    """Start the servers on one checkpoint, llama.cpp's only where `gguf` is given, and stop them in the end."""
    commands = {OURS: _our_command(checkpoint), TRANSFORMERS: _transformers_command(checkpoint)}
    if gguf is not None and llama_python is not None:
        commands[LLAMA_CPP] = _llama_command(gguf, llama_python)
    servers: dict[str, Server] = {}
    try:
        for name, command in commands.items():
            servers[name] = Server(name, _started(command))
            _wait_until_ready(servers[name])
            servers[name].process.send_signal(signal.SIGSTOP)
        yield servers
    finally:
        for server in servers.values():
            server.process.terminate()
            server.process.send_signal(signal.SIGCONT)
        for server in servers.values():
            server.process.wait()


def _our_command(checkpoint: Path) -> list[str]:
    return [
        *("tgi-autoround", "serve", "--model-id", str(checkpoint)),
        *("--quantize", "auto-round", "--port", str(PORT_OF[OURS])),
    ]


def _transformers_command(checkpoint: Path) -> list[str]:
    return [
        *("transformers", "serve", str(checkpoint), "--continuous-batching", "--port", str(PORT_OF[TRANSFORMERS])),
        *("--cb-block-size", "32", "--cb-num-blocks", "1024", "--cb-max-batch-tokens", "512"),
    ]


def _llama_command(gguf: Path, python: Path) -> list[str]:
    """Without --interrupt_requests False a request ends the one before it."""
    return [
        *(str(python), "-m", "llama_cpp.server", "--model", str(gguf), "--n_ctx", "4096"),
        *("--n_threads", str(os.cpu_count()), "--n_threads_batch", str(os.cpu_count())),
        *("--interrupt_requests", "False", "--verbose", "False"),
        *("--host", "127.0.0.1", "--port", str(PORT_OF[LLAMA_CPP])),
    ]


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    url = f"http://127.0.0.1:{server.port}{HEALTH_PATH_OF[server.name]}"
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            sys.exit(f"{server.name} ended with {server.process.returncode} before it was ready")
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    sys.exit(f"{server.name} was not ready in {START_TIMEOUT_S} s")
