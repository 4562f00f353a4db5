"""Where builds get torch from: its own index, or where that has no route, what pip finds on this machine, served."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from environment import locked_torch
from tests.images.python_image import gateway
from torch_source import CPU_INDEX, choose_torch_source

# Always the same, because it is part of what the engine knows a built layer by.
PORT = 8099
DOWNLOAD_LIMIT_S = 600


@contextmanager
def serve_torch(scratch: Path) -> Iterator[str]:
    """URL of a package index that has the locked torch for CPUs."""
    if CPU_INDEX in choose_torch_source().pip_options:
        yield CPU_INDEX
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch / "torch")]
    subprocess.run([*command, locked_torch()], check=True, timeout=DOWNLOAD_LIMIT_S)
    # A listing of the folder is an index page.
    server = ThreadingHTTPServer((gateway(), PORT), partial(SimpleHTTPRequestHandler, directory=str(scratch)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{gateway()}:{PORT}"
    finally:
        server.shutdown()
        server.server_close()
