"""`text-generation-launcher` of the image for Gaudi: the same shim, and what TGI's server there needs beside.

The stock launcher looks for NVIDIA's cards alone, and the image's own entrypoint sees one spelling of sharding alone
(backends/gaudi/tgi-entrypoint.sh, v3.3.7).
"""

import functools
from collections.abc import Mapping
from pathlib import Path

from tgi_autoround.errors import ConfigError
from tgi_autoround.tgi import model
from tgi_autoround.tgi.launcher import command, gpus
from tgi_autoround.tgi.launcher.command_line import CommandLine
from tgi_autoround.tgi.launcher.plan import plan

LAZY_COLLECTIVES = "PT_HPU_ENABLE_LAZY_COLLECTIVES"
"""Has to be true where shards exchange data inside of HPU graphs."""

BATCH_SIZE = "32"
"""What the server's own examples give one card (backends/gaudi/examples/docker_commands, v3.3.7)."""

DEVICES = Path("/dev/accel")
LISTS_OF_CARDS = ("HABANA_VISIBLE_MODULES", "HABANA_VISIBLE_DEVICES")
NO_LIST = ("", "all", "none", "void")
LEAST_SHARDS = 2


def main() -> None:
    """Run the stock launcher, as `command.main` does, with the settings below for AutoRound models."""
    command.main(functools.partial(plan, settings_of_machine=settings, unserved_types=model.UNSERVED_TYPES_ON_GAUDI))


def settings(line: CommandLine) -> dict[str, str]:
    """Return MAX_BATCH_SIZE, NUM_SHARD and lazy collectives, each where it is needed and the user has not set it.

    Without MAX_BATCH_SIZE the server fails when it warms up (models/flash_causal_lm.py:1637), and the launcher panics
    over `--sharded true` without a number (main.rs 1380-1385).

    Raises ConfigError for too few cards, and for a dtype that the server would replace in silence (server.py:251).
    """
    if line.value("--dtype") == "float16":
        raise ConfigError(
            "--dtype float16: TGI on Gaudi turns it into float32 without a word; leave --dtype away, or give bfloat16"
        )
    added = {} if line.value("--max-batch-size") is not None else {"MAX_BATCH_SIZE": BATCH_SIZE}
    if line.value("--sharded") == "true" and line.value("--num-shard") is None:
        added["NUM_SHARD"] = str(_cards_for_shards(line.environment))
    shards = gpus.number_of_shards(CommandLine(line.arguments, {**line.environment, **added}))
    if shards is not None and shards >= LEAST_SHARDS and LAZY_COLLECTIVES not in line.environment:
        added[LAZY_COLLECTIVES] = "true"
    return added


def visible_cards(environment: Mapping[str, str], devices: Path = DEVICES) -> int:
    """Return how many cards the variables list; where they list none, how many the container was given."""
    for name in LISTS_OF_CARDS:
        listed = environment.get(name, "").strip()
        if listed not in NO_LIST:
            return len(listed.split(","))
    # Beside each card's accel0 there is its accel_controlD0.
    return len(list(devices.glob("accel[0-9]*")))


def _cards_for_shards(environment: Mapping[str, str]) -> int:
    cards = visible_cards(environment)
    if cards < LEAST_SHARDS:
        raise ConfigError(
            f"--sharded true: {cards} Gaudi cards are visible here, and sharding takes {LEAST_SHARDS} or more; start "
            "the container with --runtime=habana and HABANA_VISIBLE_DEVICES=all, or leave --sharded away"
        )
    return cards
