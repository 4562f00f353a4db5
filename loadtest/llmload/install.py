"""Where Locust and the load test meet."""

from collections.abc import Callable

from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from loadtest.llmload.coordination import Coordination
from loadtest.llmload.plan import CurrentPlan, LoadPlan
from loadtest.llmload.sending import Sending


def install(environment: Environment, make_plan: Callable[[], LoadPlan]) -> None:
    """Have Locust run, with `users.LoadUser`, what `make_plan` says at each start; each process of a run asks it.

    To be called from the `init` event, where the runner is known.
    """
    runner = environment.runner
    plan = CurrentPlan(make_plan)
    environment.events.test_start.add_listener(plan.renew)
    coordination = Coordination(environment, runner, plan) if isinstance(runner, LocalRunner | MasterRunner) else None
    if coordination:
        coordination.listen_to_start()
    if isinstance(runner, LocalRunner | WorkerRunner):
        Sending(environment, runner, plan).listen()
    if coordination:
        coordination.listen_to_end()
