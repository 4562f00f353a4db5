"""pip with its progress shown, its whole output in a log, and its usual failures told in a sentence."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from console import DISK_FULL, Problem, say

_SHOWN = ("Downloading ", "Using cached ", "Installing collected packages")
_SHOWN_CHARACTERS = 80
_NO_NETWORK = ("Failed to establish a new connection", "NameResolutionError", "ConnectTimeoutError", "ProxyError")


def install(python: Path, arguments: Iterable[str], log: Path) -> None:
    """Run `pip install`; raises Problem with the likely cause, and the log's path, when it fails."""
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", *arguments]
    output: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            output.append(line)
            if line.strip().startswith(_SHOWN):
                say(f"  {line.strip()[:_SHOWN_CHARACTERS]}")
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join(output), encoding="utf-8")
    if process.returncode != 0:
        raise Problem(_diagnosis(output, log))


def _diagnosis(output: list[str], log: Path) -> str:
    text = "".join(output)
    if "No space left on device" in text:
        return f"{DISK_FULL} (log: {log})."
    if any(sign in text for sign in _NO_NETWORK):
        return f"No network: pip cannot reach the package index, check connection and proxy settings (log: {log})."
    errors = [line.strip() for line in output if line.startswith("ERROR:")]
    return f"pip failed: {errors[-1] if errors else output[-1].strip() if output else 'no output'} (log: {log})."
