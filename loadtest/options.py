"""The options that this load test adds to Locust's."""

import argparse

from locust.argument_parser import LocustArgumentParser

from loadtest.scenario_files import scenario_names

API_KEY_VARIABLE = "LOADTEST_API_KEY"


def add_options(parser: LocustArgumentParser) -> None:
    """All of them can be set in the web UI too, but for what is fixed before it starts."""
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        help=f"{', '.join(scenario_names())}, or a YAML file. Default: chat, or mixed with --tags, "
        "which choose among a scenario's parts.",
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], include_in_web_ui=False, dest="overrides",
        help="change a value of the scenario, such as arrivals.rate_per_s=4; may be repeated",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same requests in the same order")
    parser.add_argument(
        "--out", metavar="DIR", include_in_web_ui=False,
        help="where records, summary and report are written (default: loadtest-results/SCENARIO-TIME)",
    )  # fmt: skip
    parser.add_argument(
        "--api-key", env_var=API_KEY_VARIABLE, is_secret=True, default="",
        help=f"sent as a bearer token; better given by the variable {API_KEY_VARIABLE}, which no process list shows",
    )  # fmt: skip
    parser.add_argument("--connect-timeout", metavar="SECONDS", type=_positive, default=10.0, help="default: 10")
    parser.add_argument(
        "--read-timeout", metavar="SECONDS", type=_positive, default=120.0,
        help="how long a server may be silent (default: 120)",
    )  # fmt: skip


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} has to be above zero")
    return value
