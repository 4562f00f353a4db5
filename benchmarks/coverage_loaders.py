"""Load one checkpoint, in a process of its own, and say what became of it."""

import importlib.metadata
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from tests.engine.harness import ask, greedy, start_engine
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.modeling import build_model

TOKENS = torch.arange(3, 60)[None]
PROMPT = list(range(3, 40))
NEW_TOKENS = 8
EXACT_BOUND = 1e-4
ROUNDED_BOUND = 0.15
"""fp16 arithmetic and activations rounded to 8 bits stay below it; other weights do not."""
KERNEL_PACKAGE = "auto-round-lib"


@dataclass(frozen=True)
class Outcome:
    """kind: exact | rounded | wrong (runs, but computes something else) | broken (loads, fails when called) | refused.

    error: relative L2 difference of the logits from the dequantized float32 model's.
    """

    kind: str
    error: float | None = None
    message: str = ""


def outcome_of(load: Callable[[Path], np.ndarray], folder: Path, expected: np.ndarray) -> Outcome:
    """Run `load`, which returns logits or raises, and compare."""
    result = in_child(load, folder)
    if isinstance(result, Failed):
        return Outcome("broken" if result.is_late else "refused", message=result.message.replace(str(folder), "MODEL"))
    if not np.isfinite(result).all():
        return Outcome("wrong", message="logits are not finite")
    error = float(np.linalg.norm(result - expected) / np.linalg.norm(expected))
    if error < EXACT_BOUND:
        return Outcome("exact", error)
    return Outcome("rounded" if error < ROUNDED_BOUND else "wrong", error)


def expected_logits(folder: Path) -> np.ndarray:
    """float32 [1, tokens, vocabulary] of the dequantized model."""
    return _logits(dequantized_model(folder))


def load_with_tgi_autoround(folder: Path) -> np.ndarray:
    """Logits of this project's model, float32 arithmetic."""
    checkpoint = open_checkpoint(folder)
    return _logits(build_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32, exact=True))


def load_with_transformers(folder: Path) -> np.ndarray:
    """Logits of what transformers makes of the file, as its documentation says to load one."""
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, device_map="cpu", dtype="auto", output_loading_info=True
    )
    try:
        return _logits(model)
    except Exception as error:
        missing = len(report["missing_keys"])
        raise FailedWhenCalled(f"{missing} weights not loaded; {type(error).__name__}: {error}") from error


def load_with_transformers_alone(folder: Path) -> np.ndarray:
    """The same where the package of CPU kernels, which auto-round does not depend on, is not installed."""
    find_version = importlib.metadata.version

    def version(package: str) -> str:
        if package == KERNEL_PACKAGE:
            raise importlib.metadata.PackageNotFoundError(package)
        return find_version(package)

    importlib.metadata.version = version
    sys.modules["auto_round_kernel"] = None  # type: ignore[assignment]
    return load_with_transformers(folder)


def serve(folder: Path) -> str:
    """Greedy tokens of the engine against `generate()` of the dequantized model: "same" or "other"."""
    expected = greedy(dequantized_model(folder), PROMPT, NEW_TOKENS)
    engine = start_engine(folder, cpu_compute="fp32")
    answer = ask(engine, PROMPT, max_new_tokens=NEW_TOKENS)
    engine.stop()
    return "same" if answer.token_ids == expected[: len(answer.token_ids)] else "other"


class FailedWhenCalled(Exception):
    """The model was loaded without an error, and failed when it was called."""


@dataclass(frozen=True)
class Failed:
    """How a child failed; `is_late`: the model had been loaded by then."""

    message: str
    is_late: bool = False


def in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `work` returns in a forked process, or Failed."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(sender, work, arguments))
    child.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        child.join()
        result = Failed(f"it ended the process with exit code {child.exitcode}")
    child.join()
    return result


def _run(sender: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        result = work(*arguments)
    except Exception as error:
        first_line = next(iter(str(error).strip().splitlines()), "")
        is_late = isinstance(error, FailedWhenCalled)
        result = Failed(first_line if is_late else f"{type(error).__name__}: {first_line}", is_late)
    sender.send(result)


def _logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        logits: np.ndarray = model(TOKENS, use_cache=False).logits.float().numpy()
    return logits
