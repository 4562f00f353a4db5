"""The coverage benchmark tells the outcomes apart, and its tables count them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from coverage_loaders import FailedWhenCalled, outcome_of
from coverage_tables import renew

EXPECTED = np.ones((1, 4, 8), dtype=np.float32)


def equal(_folder: Path) -> np.ndarray:
    return EXPECTED + np.float32(1e-6)


def near(_folder: Path) -> np.ndarray:
    return EXPECTED * np.float32(1.05)


def far(_folder: Path) -> np.ndarray:
    return EXPECTED[..., ::-1] * np.arange(8)


def infinite(_folder: Path) -> np.ndarray:
    return np.full_like(EXPECTED, np.inf)


def refuse(folder: Path) -> np.ndarray:
    raise ValueError(f"{folder}: cannot be read\nand more")


def fail_when_called(_folder: Path) -> np.ndarray:
    raise FailedWhenCalled("3 weights not loaded")


def kill_the_process(_folder: Path) -> np.ndarray:
    os._exit(3)


@pytest.mark.parametrize(
    ("loader", "kind", "message"),
    [
        (equal, "exact", ""),
        (near, "rounded", ""),
        (far, "wrong", ""),
        (infinite, "wrong", "logits are not finite"),
        (refuse, "refused", "ValueError: MODEL: cannot be read"),
        (fail_when_called, "broken", "3 weights not loaded"),
        (kill_the_process, "refused", "it ended the process with exit code 3"),
    ],
)
def test_each_outcome_is_told_from_the_others(loader: object, kind: str, message: str) -> None:
    outcome = outcome_of(loader, Path("/models/tiny"), EXPECTED)  # type: ignore[arg-type]
    assert (outcome.kind, outcome.message) == (kind, message)


def test_the_page_counts_every_outcome_and_names_a_models_refusal(tmp_path: Path) -> None:
    def row(name: str, topic: str, ours: str, theirs: str, **more: str) -> dict[str, object]:
        kinds = {"ours": ours, "transformers": theirs, "transformers alone": "refused"}
        outcomes = {loader: {"kind": kind, "error": 0.0, "message": ""} for loader, kind in kinds.items()}
        return {"name": name, "topic": topic, "outcomes": outcomes, "engine": "", **more}

    page = tmp_path / "page.md"
    page.write_text(
        "<!-- summary:begin -->\nold\n<!-- summary:end -->\n<!-- families:begin -->\n<!-- families:end -->\n"
    )
    families = ("mistral", "mixtral", "phi", "falcon", "gemma", "llama", "qwen2", "opt", "bloom", "gptj", "mpt", "gpt2")
    rows = [row(name, "family", "exact", "wrong", engine="same") for name in (*families, "gpt_neo")]
    rows.append(row("gpt_neox", "family", "exact", "exact", engine="UnsupportedError: no interface"))
    renew(page, {"versions": {}, "rows": rows})
    text = page.read_text()
    assert "old" not in text
    assert "| tgi-autoround | 14 | 0 | 0 | 0 | 0 |" in text
    assert "| transformers + auto-round + auto-round-lib | 1 | 0 | 0 | 0 | 13 |" in text
    assert "| gpt_neox | 0 | no: no interface | exact |" in text
