"""What auto-round 0.16.1 prints becomes block events."""

import io
import logging
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.quantize.conftest import events_of
from tgi_autoround.quantize.joblog import JobLog
from tgi_autoround.quantize.watch import watched

LOSS = "quantized 7/7 layers in the block, loss iter 0: %s -> iter %d: %s"


def bar(text: str, percent: int, count: str) -> str:
    return f"\r{text}: {percent:3d}%|█████     | {count} [00:02<00:01,  1.02s/it]"


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_bars_and_losses_become_blocks(log_file: Path) -> None:
    logger = logging.getLogger("autoround")
    console = Console(file=io.StringIO())
    with JobLog(log_file, console) as log, watched(log, finished_blocks=0):
        sys.stderr.write("\r  0%|          | 0/2 [00:00<?, ?it/s]" + bar("Quantizing model.layers.0", 0, "0/2"))
        logger.log(21, LOSS % ("1.7e-03", 12, "9.1e-04"))
        sys.stderr.write(bar("Quantizing model.layers.0", 50, "1/2") + bar("Quantizing model.layers.1", 50, "1/2"))
        logger.log(21, LOSS % ("2.0e-03", 0, "2.0e-03"))
        sys.stderr.write(bar("Quantizing model.layers.1", 100, "2/2") + bar("Quantizing done", 100, "2/2") + "\n")
    blocks = events_of(log_file, "block")
    assert [(b["block"], b["index"], b["loss_before"], b["loss_after"], b["best_iter"]) for b in blocks] == [
        ("model.layers.0", 1, 1.7e-3, 9.1e-4, 12),
        ("model.layers.1", 2, 2.0e-3, 2.0e-3, 0),
    ]
    assert "block 1/2 model.layers.0: loss 0.0017 -> 0.00091" in console.file.getvalue()


def test_a_resumed_run_counts_on_though_the_bar_is_one_ahead(log_file: Path) -> None:
    with JobLog(log_file, Console(file=io.StringIO())) as log, watched(log, finished_blocks=1):
        sys.stderr.write(bar("Quantizing model.layers.1", 67, "2/3") + bar("Quantizing model.layers.2", 100, "3/3"))
    assert [(block["block"], block["index"]) for block in events_of(log_file, "block")] == [
        ("model.layers.1", 2),
        ("model.layers.2", 3),
    ]


def test_other_lines_are_kept_without_their_colours(log_file: Path) -> None:
    with JobLog(log_file, Console(file=io.StringIO())) as log, watched(log, finished_blocks=0):
        sys.stderr.write("\x1b[33;1msome warning\x1b[0m\n")
        logging.getLogger("autoround").warning("a warning of its own")
    assert [event["text"] for event in events_of(log_file, "stderr")] == ["some warning"]
    assert [event["text"] for event in events_of(log_file, "auto-round")] == ["a warning of its own"]


def fail_in_the_first_block(log_file: Path) -> None:
    with JobLog(log_file, Console(file=io.StringIO())) as log, watched(log, finished_blocks=0):
        sys.stderr.write(bar("Quantizing model.layers.0", 0, "0/2"))
        raise ZeroDivisionError("no loss")


def test_a_failure_is_logged_and_the_block_at_work_is_not_called_done(log_file: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_in_the_first_block(log_file)
    assert events_of(log_file, "block") == []
    assert events_of(log_file, "failed")[0]["error"] == "ZeroDivisionError: no loss"
