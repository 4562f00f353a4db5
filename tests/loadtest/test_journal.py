"""Records on disk: whole, in order, and not lost to a full disk or a dead worker."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.llmload.journal import RESERVE_BYTES, Journal, merge, read_records
from loadtest.llmload.record import ErrorKind, Record

RECORD = Record(
    request_id="r0",
    scenario="test",
    phase="",
    protocol="tgi-generate-stream",
    worker="w0",
    transport="kernel",
    sent_s=0.1234567891234,
    end_s=2.5,
    first_token_s=0.3,
    gaps_s=(0.1, 0.30000000000000004),
    output_tokens=3,
    finish_reason="length",
    status=200,
)


def records(count: int, **changes: object) -> list[Record]:
    return [replace(RECORD, request_id=f"r{i}", sent_s=float(i), **changes) for i in range(count)]  # type: ignore[arg-type]


def test_a_record_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    """Nothing is closed or flushed here: this is what a killed worker leaves behind."""
    journal = Journal(tmp_path, "w0")
    journal.write(RECORD)
    assert read_records(journal.path) == [RECORD]


def test_all_workers_records_are_merged_in_the_order_of_their_start(tmp_path: Path) -> None:
    early = records(6)
    for worker in (0, 1):
        journal = Journal(tmp_path, f"w{worker}")
        for record in reversed(early[worker::2]):
            journal.write(record)
        assert journal.close() == 0
    assert merge(tmp_path) == 0
    assert read_records(tmp_path) == early
    assert {path.name for path in tmp_path.iterdir()} == {"records-w0.jsonl", "records-w1.jsonl", "records.jsonl"}


def test_the_open_loops_order_is_that_of_its_schedule(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w0")
    late = replace(RECORD, request_id="late", scheduled_s=1.0, sent_s=5.0)
    journal.write(replace(RECORD, request_id="on time", scheduled_s=2.0, sent_s=2.0))
    journal.write(late)
    journal.close()
    merge(tmp_path)
    assert [record.request_id for record in read_records(tmp_path)] == ["late", "on time"]


def test_the_line_that_a_dying_machine_tore_is_counted_and_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w0")
    journal.write(RECORD)
    journal.write(replace(RECORD, error_kind=ErrorKind.TRUNCATED))
    journal.close()
    os.truncate(journal.path, journal.path.stat().st_size - 20)
    assert merge(tmp_path) == 1
    assert read_records(tmp_path) == [RECORD]


class SmallDisk:
    """`os.write` on a disk that holds `capacity` bytes of the folder: it writes what fits, then there is no space."""

    def __init__(self, folder: Path, capacity: int) -> None:
        self._folder = folder
        self._capacity = capacity
        self._write = os.write

    def write(self, file: int, data: bytes) -> int:
        free = self._capacity - sum(path.stat().st_size for path in self._folder.iterdir())
        if free <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(file, data[:free])


def test_a_full_disk_is_noticed_and_the_reserve_takes_what_is_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "w0")
    line_bytes = len(RECORD.to_json_line())
    disk = SmallDisk(tmp_path, RESERVE_BYTES + int(2.5 * line_bytes))
    monkeypatch.setattr(os, "write", disk.write)
    expected = records(20)
    for record in expected[:2]:
        journal.write(record)
    assert journal.failure is None
    for record in expected[2:]:
        journal.write(record)
    assert journal.failure == "No space left on device"
    assert journal.close() == 0
    assert read_records(journal.path) == expected


def test_what_even_the_reserve_cannot_take_is_counted_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "w0")
    disk = SmallDisk(tmp_path, int(2.5 * len(RECORD.to_json_line())))
    monkeypatch.setattr(os, "write", disk.write)
    expected = records(5)
    for record in expected:
        journal.write(record)
    assert journal.close() == 3
    assert journal.written == 2
    assert merge(tmp_path) == 0
    assert read_records(tmp_path) == expected[:2]


def test_space_that_comes_back_gets_the_records_that_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, "w0")
    expected = records(4)
    with monkeypatch.context() as full:
        full.setattr(os, "write", SmallDisk(tmp_path, 0).write)
        for record in expected[:3]:
            journal.write(record)
    journal.write(expected[3])
    assert journal.failure is not None
    assert journal.close() == 0
    assert read_records(journal.path) == expected


def test_an_earlier_runs_records_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    Journal(tmp_path, "w0").close()
    with pytest.raises(LoadTestError, match="another folder"):
        Journal(tmp_path, "w0")


def test_a_folder_that_cannot_be_is_said_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoadTestError, match="cannot be written"):
        Journal(tmp_path / "file", "w0")


def test_records_that_are_not_there_are_said_to_be_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=r"records\.jsonl"):
        read_records(tmp_path)
