"""Locust's users in this process, without its page and terminal: the load test's own, and a peer's."""

import time
from argparse import Namespace
from pathlib import Path

import gevent
from locust import User
from locust.env import Environment

from loadtest.llmload.install import install
from loadtest.llmload.plan import LoadPlan
from loadtest.llmload.request import Workload
from loadtest.llmload.users import LoadUser


def run_workload(workload: Workload, url: str, users: int, folder: Path) -> float:
    """Run the load test until its users have stopped or its arrivals are answered; returns the CPU seconds it took."""
    environment = _environment(LoadUser, url)
    plan = LoadPlan(workload, new_run_folder=lambda: folder, on_finished=lambda _: None)
    install(environment, lambda: plan)
    return _cpu_s(environment, users)


def run_users(user: type[User], url: str, users: int) -> float:
    """Run a peer's users until they have stopped; returns the CPU seconds it took."""
    return _cpu_s(_environment(user, url), users)


def _environment(user: type[User], url: str) -> Environment:
    environment = Environment(user_classes=[user], host=url)
    environment.parsed_options = Namespace(headless=True)
    environment.create_local_runner()
    return environment


def _cpu_s(environment: Environment, users: int) -> float:
    began_s = time.process_time()
    environment.runner.start(users, spawn_rate=users)
    gevent.sleep(1.0)
    while environment.runner.user_count and environment.runner.state != "stopped":
        gevent.sleep(0.1)
    spent_s = time.process_time() - began_s
    environment.runner.quit()
    return spent_s
