"""What a job says of itself: a line a block for people, a JSON object a line for programs."""

import json
import resource
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@dataclass(frozen=True)
class BlockLoss:
    """The reconstruction error of a block before tuning and at its best iteration."""

    before: float
    after: float
    best_iter: int


class JobLog:
    """The one place that a job reports to; use as a context manager.

    On a terminal a progress bar with the time left runs below the lines.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._blocks_started_at = 0.0
        self._first_block = 0

    def __enter__(self) -> "JobLog":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if error is not None:
            self.event("failed", error=f"{type(error).__name__}: {error}")
        self._file.close()

    def event(self, event: str, **fields: Any) -> None:
        """Append one JSON line: the time, the event, its fields."""
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({"time": stamp, "event": event, **fields}) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Tell the user one line, and record it."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.event("message", text=text)

    def blocks_begin(self, total: int, finished: int) -> None:
        """Start the bar of the decoder blocks; `finished` of them were done by an earlier run."""
        self._first_block = finished
        self._blocks_started_at = time.monotonic()
        self._task = self._bar.add_task("blocks", total=total, completed=finished)

    def block_done(self, name: str, index: int, total: int, loss: BlockLoss | None) -> None:
        """Report the block number `index` (from 1) of `total`."""
        elapsed_s = time.monotonic() - self._blocks_started_at
        left_s = elapsed_s / max(index - self._first_block, 1) * (total - index)
        memory_bytes = peak_memory_bytes()
        if self._task is not None:
            self._bar.update(self._task, completed=index)
        tuned = f"loss {loss.before:.3g} -> {loss.after:.3g}" if loss else "rounded"
        self._console.print(
            f"block {index}/{total} {name}: {tuned}, {elapsed_s:.0f} s, {left_s:.0f} s left, "
            f"memory {memory_bytes / 1e9:.1f} GB",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        self.event(
            "block",
            block=name,
            index=index,
            total=total,
            loss_before=loss.before if loss else None,
            loss_after=loss.after if loss else None,
            best_iter=loss.best_iter if loss else None,
            elapsed_s=round(elapsed_s, 3),
            left_s=round(left_s, 3),
            peak_memory_bytes=memory_bytes,
        )


def peak_memory_bytes() -> int:
    """Return the most memory this process has held so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
