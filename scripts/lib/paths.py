"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
DEMO_MODEL = ROOT / "assets/demo-model"
WORK = ROOT / ".quickstart"
"""Everything scripts/quickstart makes, except .venv; ignored by git, safe to delete."""
