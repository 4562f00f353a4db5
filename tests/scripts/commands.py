"""Small programs that stand in for what a test machine lacks: a GPU, a network, a Python without venv."""

from pathlib import Path


def write_command(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path
