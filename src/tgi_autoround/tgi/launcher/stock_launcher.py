"""The stock `text-generation-launcher`, and how this process becomes it."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tgi_autoround.errors import UnsupportedError

NAME = "text-generation-launcher"
LAST_RESORT = Path("/usr/local/bin")
"""Where TGI's images hold it."""

SIGNALS_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")


def find_stock_launcher(environment: Mapping[str, str]) -> Path:
    """Return the first launcher in PATH that is not this package's. Raises UnsupportedError where there is none."""
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    for folder in (*map(Path, folders), LAST_RESORT):
        candidate = folder / NAME
        if candidate.is_file() and os.access(candidate, os.X_OK) and not _is_ours(candidate):
            return candidate
    raise UnsupportedError(
        f"no {NAME} of TGI's in PATH or {LAST_RESORT}: this is none of TGI's images; serve the model with "
        "`tgi-autoround serve`, which takes the same options"
    )


def become(launcher: Path, arguments: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process, so that signals reach the launcher and its exit code is the container's."""
    for name in SIGNALS_IGNORED_BY_PYTHON:
        signal.signal(signal.Signals[name], signal.SIG_DFL)
    try:
        os.execve(launcher, [NAME, *arguments], environment)
    except OSError as error:
        raise UnsupportedError(f"{launcher} cannot be run: {error.strerror}") from error


def given_environment() -> dict[str, str]:
    """Return the environment as it was given: in the C locale Python adds LC_CTYPE to its own (PEP 538)."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def _is_ours(file: Path) -> bool:
    """Whether it is a script that pip or uv wrote for this package, whatever its name, copies and links included."""
    return b"tgi_autoround" in file.read_bytes()[:2048]
