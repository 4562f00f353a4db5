"""What a run is made of: decided once, before it starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.llmload.request import Workload
from loadtest.llmload.validity import Limits


@dataclass(frozen=True)
class LoadPlan:
    workload: Workload
    new_run_folder: Callable[[], Path]
    """Where the run's files go; asked for at each start, by the process that holds the web page or the terminal."""
    on_finished: Callable[[Path], None]
    """Called there once all records and meta.json are in the folder."""
    api_key: str | None = None
    model: str = "tgi"
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 300.0
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, object] = field(default_factory=dict)
    """Written into meta.json as they are."""


class CurrentPlan:
    """The plan of the run under way: made anew at each start, since the web page lets users change it in between."""

    def __init__(self, make_plan: Callable[[], LoadPlan]) -> None:
        self._make_plan = make_plan
        self.plan: LoadPlan | None = None
        """None if it could not be made: then nothing starts."""

    def renew(self, **_: object) -> None:
        self.plan = None
        self.plan = self._make_plan()


@dataclass(frozen=True)
class RunStart:
    """What all workers of a run have to agree on; travels with Locust's own start message."""

    folder: str
    started_unix_ns: int
    workers: tuple[str, ...]
    """Locust's ids of the workers; a worker's number is its place here."""
