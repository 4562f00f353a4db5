"""Which torch is installed: decided by the GPU and by what the network reaches, seen in pip's arguments."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from environment import install_torch, locked_torch
from tests.scripts.commands import write_command
from torch_source import choose_torch_source

UNREACHABLE = "http://127.0.0.1:9/whl/cpu"


@pytest.fixture
def cpu_index() -> Iterator[str]:
    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/whl/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/whl/cpu"
        server.shutdown()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what the test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def pip_arguments(folder: Path, cpu_index: str) -> list[str]:
    """What pip is called with, by a Python that records it."""
    python = write_command(folder / "venv/bin/python", f'printf "%s\\n" "$@" > {folder}/arguments')
    install_torch(python, choose_torch_source(cpu_index))
    return (folder / "arguments").read_text().splitlines()


def test_without_a_gpu_the_cpu_index_is_used(path: Path, cpu_index: str) -> None:
    arguments = pip_arguments(path, cpu_index)
    assert arguments[arguments.index("--index-url") + 1] == cpu_index
    assert arguments[-1] == locked_torch()


def test_with_a_gpu_the_ordinary_index_is_used(path: Path, cpu_index: str) -> None:
    write_command(path / "nvidia-smi", 'echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"')
    arguments = pip_arguments(path, cpu_index)
    assert "--index-url" not in arguments
    assert arguments[-1] == locked_torch()


def test_a_driver_without_a_gpu_is_no_gpu(path: Path, cpu_index: str) -> None:
    write_command(path / "nvidia-smi", 'echo "No devices were found"; exit 6')
    assert "--index-url" in pip_arguments(path, cpu_index)


def test_where_the_cpu_index_is_out_of_reach_the_ordinary_index_is_used_and_named(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--index-url" not in pip_arguments(path, UNREACHABLE)
    said = capsys.readouterr().out
    assert "out of reach" in said
    assert "the CUDA build (several GB) elsewhere" in said


def test_an_index_that_never_answers_is_given_up_within_seconds(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_s = time.monotonic()
        source = choose_torch_source(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - started_s < 8
    assert source.pip_options == ()


def test_dependencies_of_torch_are_left_to_the_lock(path: Path, cpu_index: str) -> None:
    """PyTorch's index has some of them, in versions that are not the locked ones."""
    assert "--no-deps" in pip_arguments(path, cpu_index)
