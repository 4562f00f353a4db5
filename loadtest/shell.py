"""What Locust's options become: the scenario, the run's folder, and what is written once a run has ended."""

import logging
import sys
import time
from pathlib import Path
from typing import Any, cast

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.errors import LoadTestError
from loadtest.finish import finish_run
from loadtest.llmload.install import install
from loadtest.llmload.plan import LoadPlan
from loadtest.plan import RequestPlan
from loadtest.prompts.counting import ServerTokenizer
from loadtest.prompts.talk import Talk
from loadtest.scenario import Closed, Scenario
from loadtest.scenario_files import load_scenario
from loadtest.server_metrics import Scraper, server_info
from loadtest.summary import is_used
from loadtest.terminal import print_summary

PLAN_MESSAGE = "loadtest-plan"
RESULTS = Path("loadtest-results")
STOP_TIMEOUT_S = 60.0
RUN_TIME_MARGIN_S = 2.0
"""Locust counts its run time from before the workers begin: it must not cut the end, nor what is due last."""
EXIT_USAGE = 2

logger = logging.getLogger(__name__)


def set_up(environment: Environment, runner: Runner, **_: Any) -> None:
    """Give Locust the scenario's defaults and prepare its runs; ends the process where the options make no sense."""
    shell = Shell(environment, runner)
    try:
        shell.prepare()
    except LoadTestError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USAGE)
    if isinstance(runner, WorkerRunner):
        runner.register_message(PLAN_MESSAGE, shell.take_plan)
    environment.events.test_stopping.add_listener(shell.note_end)
    install(environment, shell.make_plan)


class Shell:
    """One process's part of the runs: the one with the terminal or the web page plans, workers take its plan."""

    def __init__(self, environment: Environment, runner: Runner) -> None:
        self._environment = environment
        self._runner = runner
        self._options = cast(Any, environment.parsed_options)
        self._tags = tuple(self._options.tags or ())
        self._exclude_tags = tuple(self._options.exclude_tags or ())
        # They choose among the scenario's parts; Locust would look for them on its tasks.
        self._options.tags = self._options.exclude_tags = None
        self._prepared: RequestPlan | None = None
        self._scraper: Scraper | None = None
        self._about: dict[str, Any] = {}

    def prepare(self) -> None:
        """Take from the scenario what the user did not give, and make its prompts if the run starts at once.

        Raises LoadTestError for options, files and servers that cannot be used.
        """
        options = self._options
        scenario = self._chosen_scenario()
        users = scenario.arrivals.users if isinstance(scenario.arrivals, Closed) else 1
        options.num_users = options.num_users or users
        options.spawn_rate = options.spawn_rate or options.num_users
        options.run_time = options.run_time or scenario.duration_s
        self._environment.stop_timeout = self._environment.stop_timeout or STOP_TIMEOUT_S
        if (options.headless or options.autostart) and not isinstance(self._runner, WorkerRunner):
            self._prepared = self._new_plan()
            if scenario.is_open_loop or isinstance(self._runner, MasterRunner):
                options.run_time += RUN_TIME_MARGIN_S
            # Timers count from when the loop last looked at the clock, which was before the prompts were made.
            gevent.get_hub().loop.update_now()

    def _chosen_scenario(self) -> Scenario:
        """Raises LoadTestError for a scenario that does not exist or does not fit."""
        options = self._options
        name = options.scenario or ("mixed" if self._tags else "chat")
        scenario = load_scenario(name, options.overrides, self._tags, self._exclude_tags)
        return scenario.lasting(options.run_time) if options.run_time else scenario

    def take_plan(self, msg: Any, **_: Any) -> None:
        """Worker: what the master is about to start."""
        self._prepared = RequestPlan(Scenario.model_validate(msg.data["scenario"]), msg.data["seed"])
        self._prepared.pools = {
            name: [Talk(tuple(turns)) for turns in talks] for name, talks in msg.data["pools"].items()
        }

    def make_plan(self) -> LoadPlan:
        """What the run that starts now is; asked for by every process of it.

        A scenario that cannot be run ends Locust with exit code 2, before anything has been sent.
        """
        plan, self._prepared = self._prepared, None
        if isinstance(self._runner, WorkerRunner):
            if plan is None:
                raise LoadTestError("The master sent no plan: it has to run the same version of the load test.")
            return self._load_plan(plan, {})
        try:
            plan = plan or self._new_plan()
        except LoadTestError as error:
            logger.error(error)
            self._environment.process_exit_code = EXIT_USAGE
            self._runner.quit()
            raise
        if isinstance(self._runner, MasterRunner):
            self._send_plan(plan)
        return self._load_plan(plan, server_info(self._host, self._options.api_key))

    def note_end(self, **_: Any) -> None:
        """No new requests from here on; answers are still waited for."""
        self._about["sending_ended_unix_s"] = time.time()

    def _new_plan(self) -> RequestPlan:
        plan = RequestPlan(self._chosen_scenario(), self._options.seed)
        plan.pools = plan.make_pools(ServerTokenizer(self._host, self._options.api_key))
        return plan

    def _send_plan(self, plan: RequestPlan) -> None:
        """To all workers; it reaches each before Locust's own message that starts the run."""
        pools = {name: [talk.turns for talk in talks] for name, talks in plan.pools.items()}
        scenario = plan.scenario.model_dump(mode="json")
        self._runner.send_message(PLAN_MESSAGE, {"scenario": scenario, "seed": plan.seed, "pools": pools})

    def _load_plan(self, plan: RequestPlan, server: dict[str, Any]) -> LoadPlan:
        options = self._options
        self._about = {
            "scenario": plan.scenario.model_dump(mode="json"),
            "seed": plan.seed,
            "users": self._runner.target_user_count,
            "server": server,
        }
        return LoadPlan(
            workload=plan,
            new_run_folder=lambda: self._new_run_folder(plan.name),
            on_finished=self._finish,
            api_key=options.api_key or None,
            connect_timeout_s=options.connect_timeout,
            read_timeout_s=options.read_timeout,
            options=self._about,
        )

    def _new_run_folder(self, scenario: str) -> Path:
        """The folder given, or one named after the scenario; the time is added where a run is in it already."""
        now = time.strftime("%Y%m%d-%H%M%S")
        folder = Path(self._options.out) if self._options.out else RESULTS / f"{scenario}-{now}"
        if is_used(folder):
            folder = folder.with_name(f"{folder.name}-{now}")
        logger.info(f"The run's files are in {folder}.")
        folder.mkdir(parents=True, exist_ok=True)
        self._scraper = Scraper(self._host, folder, self._options.api_key)
        return folder

    def _finish(self, folder: Path) -> None:
        if self._scraper:
            self._scraper.stop()
        print_summary(finish_run(folder))

    @property
    def _host(self) -> str:
        if not self._environment.host:
            raise LoadTestError("Which server? Give its address with --host, such as http://127.0.0.1:8080.")
        return str(self._environment.host)
