"""The process with the terminal or the web page: it starts a run for all workers and puts together what they wrote."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gevent
import orjson
from locust.env import Environment
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner

from loadtest.llmload.journal import merge, read_records
from loadtest.llmload.messages import STOP_MESSAGE
from loadtest.llmload.plan import LoadPlan, RunStart
from loadtest.llmload.record import Record
from loadtest.llmload.sampler import Sample, WorkerReport
from loadtest.llmload.validity import judge

META = "meta.json"
EXIT_RECORDS_LOST = 3
START_DELAY_S = 1.0
REPORT_PATIENCE_S = 10.0
_log = logging.getLogger(__name__)


class Coordinator:
    """One run."""

    def __init__(self, plan: LoadPlan, environment: Environment, runner: LocalRunner | MasterRunner) -> None:
        """Decide where and when the run starts: with workers in other processes a little later, once all know."""
        self._plan = plan
        self._environment = environment
        self._runner = runner
        self.start = RunStart(
            folder=str(plan.new_run_folder().resolve()),
            started_unix_ns=time.time_ns() + (int(START_DELAY_S * 1e9) if isinstance(runner, MasterRunner) else 0),
            workers=tuple(sorted(self._living_workers())),
        )
        self._reports: dict[str, WorkerReport] = {}

    def take_report(self, worker_id: str, report: Mapping[str, Any]) -> None:
        samples = tuple(Sample(**sample) for sample in report["samples"])
        self._reports[worker_id] = WorkerReport(**{**report, "samples": samples})

    def stop_workers(self) -> None:
        """Have the workers end their parts, and wait for their reports, but not for workers that are gone."""
        self._runner.send_message(STOP_MESSAGE)
        with gevent.Timeout(self._environment.stop_timeout + REPORT_PATIENCE_S, False):
            while not set(self.start.workers) & self._living_workers() <= set(self._reports):
                gevent.sleep(0.05)

    def finish(self) -> None:
        """Merge, judge, write meta.json and call the plan's `on_finished`. What was lost makes the run INVALID."""
        folder = Path(self.start.folder)
        problems = [*self._missing_workers(), *self._disk_problems()]
        try:
            torn_lines = merge(folder)
            records = read_records(folder)
            problems += [*self._torn_lines(torn_lines), *self._records_elsewhere(records)]
            self._write_meta(records, torn_lines, problems)
            self._plan.on_finished(folder)
        except OSError as error:
            problems.append(f"the workers' records in {folder} could not be put together: {error.strerror}")
        for problem in problems:
            _log.error("Incomplete run: %s", problem)
        if problems:
            self._environment.process_exit_code = EXIT_RECORDS_LOST

    def _write_meta(self, records: Sequence[Record], torn_lines: int, problems: Sequence[str]) -> None:
        reports = list(self._reports.values())
        judged = judge(records, reports, self._plan.limits)
        validity = replace(judged, valid=judged.valid and not problems, reasons=(*problems, *judged.reasons))
        meta = {
            "started_unix_s": self.start.started_unix_ns / 1e9,
            "ended_s": max((record.end_s for record in records), default=0.0),
            "host": self._environment.host,
            "scenario": self._plan.workload.name,
            "workers": [asdict(report) for report in reports],
            "torn_lines": torn_lines,
            "validity": asdict(validity),
            "options": dict(self._plan.options),
        }
        (Path(self.start.folder) / META).write_bytes(orjson.dumps(meta, option=orjson.OPT_INDENT_2))

    def _records_elsewhere(self, records: Sequence[Record]) -> list[str]:
        elsewhere = sum(report.written for report in self._reports.values()) - len(records)
        if elsewhere <= 0:
            return []
        return [
            f"{elsewhere} records are on other machines: copy their records-*.jsonl into {self.start.folder} and merge "
            "again"
        ]

    def _torn_lines(self, count: int) -> list[str]:
        return [f"lines of records-*.jsonl in {self.start.folder} that are no records: {count}"] if count else []

    def _missing_workers(self) -> list[str]:
        return [
            f"worker w{number} ended without a report; its records up to then are in {self.start.folder}"
            for number, worker in enumerate(self.start.workers)
            if worker not in self._reports
        ]

    def _disk_problems(self) -> list[str]:
        return [
            f"the disk of worker {report.worker} refused records ({report.disk_failure}), which ended the run; "
            f"{report.lost} records are lost"
            for report in self._reports.values()
            if report.disk_failure
        ]

    def _living_workers(self) -> set[str]:
        if isinstance(self._runner, LocalRunner):
            return {self._runner.client_id}
        return {node.id for node in self._runner.clients.values() if node.state != STATE_MISSING}
