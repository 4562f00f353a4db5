"""The console script `text-generation-launcher`: TGI's own, which it becomes, with `--quantize auto-round`."""

import sys
from collections.abc import Callable, Mapping

from tgi_autoround.errors import ConfigError, TgiAutoRoundError
from tgi_autoround.tgi.launcher.plan import Plan, plan
from tgi_autoround.tgi.launcher.stock_launcher import NAME, become, find_stock_launcher, given_environment

USAGE_EXIT_CODE = 2
FAILURE_EXIT_CODE = 1


def main(make_plan: Callable[[list[str], Mapping[str, str]], Plan] = plan) -> None:
    """Run the stock launcher as planned from the command line and the environment.

    What is wrong ends in a sentence, with exit code 2 for options and 1 for the rest.
    """
    environment = given_environment()
    try:
        launcher = find_stock_launcher(environment)
        planned = make_plan(sys.argv[1:], environment)
        if planned.added:
            added = " ".join(f"{name}={value}" for name, value in planned.added.items())
            sys.stderr.write(f"{NAME}: serving with AutoRound, {added}\n")
            sys.stderr.flush()
        become(launcher, planned.arguments, planned.environment)
    except TgiAutoRoundError as error:
        sys.stderr.write(f"{NAME}: {error}\n")
        sys.exit(USAGE_EXIT_CODE if isinstance(error, ConfigError) else FAILURE_EXIT_CODE)
