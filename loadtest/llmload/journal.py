"""A worker's records on disk, each written whole as soon as its request has ended, and all workers' in one file."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.llmload.record import Record

MERGED = "records.jsonl"
RESERVE_BYTES = 1024 * 1024


class Journal:
    """Append-only. Survives the worker's death (every record goes to the kernel at once) and a full disk.

    A reserve of disk space is given up when the disk is full, so that what is in flight by then can still be written.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        """Raises LoadTestError if the folder cannot be written to, or already has this worker's records."""
        self.path = folder / f"records-{worker}.jsonl"
        self._reserve = folder / f"reserve-{worker}.bin"
        self.failure: str | None = None
        """Why a record could not be written at once; None as long as all could."""
        self.written = 0
        self._unwritten: deque[bytes] = deque()
        if self.path.exists():
            raise LoadTestError(f"{self.path} exists: it is an earlier run's. Give the run another folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            raise LoadTestError(f"Records cannot be written to {folder}: {error.strerror}.") from error

    def write(self, record: Record) -> None:
        """Never raises for a failing disk: see `failure`, and the number of lost records that `close` returns."""
        self._unwritten.append(record.to_json_line())
        self._flush()

    def close(self) -> int:
        """How many records could not be written, after a last try."""
        self._flush()
        os.close(self._file)
        self._reserve.unlink(missing_ok=True)
        return len(self._unwritten)

    def _flush(self) -> None:
        try:
            while self._unwritten:
                self._append(self._unwritten[0])
                self._unwritten.popleft()
                self.written += 1
        except OSError as error:
            first = self.failure is None
            self.failure = str(error.strerror)
            if first:
                self._reserve.unlink(missing_ok=True)
                self._flush()

    def _append(self, line: bytes) -> None:
        """Write the whole line or nothing of it."""
        start = os.fstat(self._file).st_size
        at = 0
        try:
            while at < len(line):
                at += os.write(self._file, line[at:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, start)
            raise


def merge(folder: Path) -> int:
    """Write all workers' records into one file, by the time they started; returns how many lines were no record.

    Such a line is what a worker was writing when its machine died. The workers' own files stay. Raises OSError.
    """
    records: list[Record] = []
    torn = 0
    for path in sorted(folder.glob("records-*.jsonl")):
        for record in _lines(path):
            if record is None:
                torn += 1
            else:
                records.append(record)
    records.sort(key=lambda record: record.started_s)
    partial = folder / f"{MERGED}.partial"
    with partial.open("wb") as file:
        file.writelines(record.to_json_line() for record in records)
    partial.replace(folder / MERGED)
    return torn


def read_records(source: Path) -> list[Record]:
    """The records of a run's folder, or of one file. Raises LoadTestError where there are none."""
    path = source / MERGED if source.is_dir() else source
    if not path.exists():
        raise LoadTestError(f"There is no {path}: give the folder of a run that has ended.")
    return [record for record in _lines(path) if record is not None]


def _lines(path: Path) -> Iterator[Record | None]:
    """Every line's record; None for a line that is none."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield Record.from_json(line)
            except (ValueError, TypeError, KeyError):
                yield None
