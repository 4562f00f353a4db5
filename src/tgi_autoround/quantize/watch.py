"""auto-round's log and progress bars -> the job's log.

auto-round 0.16.1 has no callback for progress; what it prints is the only sign of it. Each block gives
`Quantizing model.layers.3:  12%|...| 3/24` on stderr (tqdm) and, when tuned, one line on its logger:
`quantized 7/7 layers in the block, loss iter 0: 1.2e-03 -> iter 187: 8.1e-04`
(auto_round/algorithms/quantization/sign_round/quantizer.py, compressors/orchestrator.py).
"""

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tgi_autoround.quantize.joblog import BlockLoss, JobLog

_LOSS = re.compile(r"loss iter 0: (\S+) -> iter (\d+): (\S+)")
_BAR = re.compile(r"Quantizing (\S+):\s+\d+%\|[^|]*\| \d+/(\d+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class BlockWatch:
    """Turns the signs of one run into block events: a block is done when the bar names another, or the run ends.

    The bar's own count is not used: after a resume it is one too high (compressors/orchestrator.py, 0.16.1).
    """

    log: JobLog
    finished: int
    _block: str = ""
    _total: int = 0
    _loss: BlockLoss | None = None

    def on_bar(self, block: str, total: int) -> None:
        if block == self._block:
            return
        if self._block:
            self.on_block_end()
        else:
            self.log.blocks_begin(total, self.finished)
        self._block, self._total = block, total

    def on_loss(self, loss: BlockLoss) -> None:
        self._loss = loss

    def on_block_end(self) -> None:
        if self.finished < self._total:
            self.finished += 1
            self.log.block_done(self._block, self.finished, self._total, self._loss)
        self._loss = None


@dataclass
class _StderrReader(io.TextIOBase):
    """Stands in for stderr: progress bars become block events, every other line an event of its own."""

    watch: BlockWatch
    _pending: str = field(default="", init=False)

    def write(self, text: str) -> int:
        *lines, self._pending = re.split(r"[\r\n]", self._pending + text)
        for line in lines:
            self._read(line)
        if _BAR.search(self._pending):
            self._read(self._pending)
            self._pending = ""
        return len(text)

    def _read(self, line: str) -> None:
        bar = _BAR.search(line)
        if bar:
            self.watch.on_bar(bar[1], int(bar[2]))
        elif line.strip() and "%|" not in line:
            self.watch.log.event("stderr", text=_ANSI.sub("", line).strip())


class _LogReader(logging.Handler):
    def __init__(self, watch: BlockWatch) -> None:
        super().__init__()
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        loss = _LOSS.search(message)
        if loss:
            self.watch.on_loss(BlockLoss(float(loss[1]), float(loss[3]), int(loss[2])))
        else:
            self.watch.log.event("auto-round", level=record.levelname, text=message)


@contextlib.contextmanager
def watched(log: JobLog, finished_blocks: int) -> Iterator[None]:
    """Send what auto-round prints meanwhile to `log`, and nothing of it to the terminal."""
    from auto_round.logger import logger

    watch = BlockWatch(log, finished_blocks)
    handlers, logger.handlers = logger.handlers, [_LogReader(watch)]
    try:
        with contextlib.redirect_stderr(_StderrReader(watch)):
            yield
        watch.on_block_end()
    finally:
        logger.handlers = handlers
