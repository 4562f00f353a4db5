"""The double of libcuda, compiled once, and what a test asks of it."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).parent / "fake_libcuda.c"


class FakeDriver:
    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        library.fake_calls.restype = ctypes.c_char_p
        library.fake_reset()
        library.fake_version(12000)

    def calls(self) -> list[str]:
        """Everything asked of the driver since the last time."""
        found: list[str] = self.library.fake_calls().decode().splitlines()
        self.library.fake_reset()
        return found

    def expect_parameters(self, sizes_bytes: Sequence[int]) -> None:
        """Parameters of a launch are read with these sizes; 128 is a tensor map."""
        self.library.fake_expect((ctypes.c_int * len(sizes_bytes))(*sizes_bytes), len(sizes_bytes))

    def lose_context(self) -> None:
        self.library.fake_lose_context()

    def fail(self, call: str, code: int) -> None:
        self.library.fake_fail(call.encode(), code)

    def set_version(self, version: int) -> None:
        self.library.fake_version(version)


@functools.cache
def compiled_double() -> ctypes.CDLL:
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libcuda.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        return ctypes.CDLL(str(library))
