"""The load test under Locust's own command line, for --processes; STREAMS and SECONDS are in the environment."""

import os
import sys
from pathlib import Path
from typing import Any

from locust import events

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.loadgen_clients.ours import Streams
from loadtest.llmload.install import install
from loadtest.llmload.plan import LoadPlan
from loadtest.llmload.users import LoadUser

__all__ = ["LoadUser"]


@events.init.add_listener
def _install(environment: Any, **_: Any) -> None:
    workload = Streams(int(os.environ["STREAMS"]), float(os.environ["SECONDS"]))
    plan = LoadPlan(workload, new_run_folder=lambda: Path(os.environ["RUN_FOLDER"]), on_finished=lambda _: None)
    install(environment, lambda: plan)
