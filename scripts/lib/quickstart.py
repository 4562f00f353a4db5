"""The whole way on one machine: install, quantize, serve, ask, load-test, report, stop."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console import Problem, run, say, step
from environment import EXTRAS_TO_RUN, prepare
from load_run import DURATION_S, USERS, LoadRun, run_load_test, summary_table
from paths import DEMO_MODEL, WORK
from quantized_model import quantize, weights_bytes
from server_process import HOST, ServerProcess, require_free_port

QUESTION = "What does the sorted function do?"
ANSWER_TOKENS = 64
START_LIMIT_S = 180


def main() -> int:
    options = _options()
    require_free_port(options.port)
    bin_folder = prepare(EXTRAS_TO_RUN)
    quantized = quantize(bin_folder, options.model)
    with _serving(bin_folder, quantized, options) as server:
        say(f"Question: {QUESTION}")
        say(f"Answer:   {server.ask(QUESTION, ANSWER_TOKENS)}")
        with step(f"Load test: {USERS} users for {DURATION_S} s"):
            load = run_load_test(bin_folder, server.url, WORK / "load")
        _report(load, Path(options.model), quantized)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description=__doc__)
    parser.add_argument("model", nargs="?", default=str(DEMO_MODEL), help="a directory or a hub id (default: the demo)")
    parser.add_argument("--keep-serving", action="store_true", help="leave the server running at the end")
    parser.add_argument("--port", type=int, default=8080, help="port to serve on (default: 8080)")
    return parser.parse_args()


@contextmanager
def _serving(bin_folder: Path, model: Path, options: argparse.Namespace) -> Iterator[ServerProcess]:
    """A healthy server; afterwards it is stopped, unless all went well and the user wants it kept."""
    command = [str(bin_folder / "tgi-autoround"), "serve", "--model-id", str(model), "--quantize", "auto-round"]
    command += ["--hostname", HOST, "--port", str(options.port)]
    server = ServerProcess(command, options.port, WORK / "server.log")
    keep = False
    try:
        with step(f"Starting the server on port {options.port}"):
            server.wait_until_healthy(START_LIMIT_S)
        yield server
        keep = options.keep_serving
    finally:
        if keep:
            say(f"Still serving at {server.url}; stop it with: kill {server.pid}")
        else:
            server.stop()
            say("Server stopped")


def _report(load: LoadRun, original: Path, quantized: Path) -> None:
    original_bytes = weights_bytes(original) if original.is_dir() else None
    print(f"\n{summary_table(load.figures, original_bytes, weights_bytes(quantized))}\n")
    print(f"  Report: {load.html_report}\n", flush=True)
    if load.figures["failures"] or not load.figures["requests"]:
        raise Problem(f"The load test had failures: {load.figures['failures_by_kind'] or 'no request was answered'}.")


if __name__ == "__main__":
    run(main)
