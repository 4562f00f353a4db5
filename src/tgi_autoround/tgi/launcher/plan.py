"""The user's command line and environment -> those of the stock launcher."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tgi_autoround.checkpoint.compat import readable_by_transformers_4
from tgi_autoround.errors import CheckpointError, ConfigError
from tgi_autoround.tgi import model
from tgi_autoround.tgi.environment import FORCE_VARIABLE, QUANTIZE_CHOICE, is_auto_round_config
from tgi_autoround.tgi.launcher import sagemaker
from tgi_autoround.tgi.launcher.command_line import QUANTIZE, CommandLine
from tgi_autoround.tgi.launcher.defaults import derived_settings
from tgi_autoround.tgi.launcher.launcher_config import is_lost_on_launcher, parse_launcher_config
from tgi_autoround.tgi.launcher.model_files import CONFIG_FILE, TOKENIZER_FILES, find_small_files, read_config
from tgi_autoround.tgi.launcher.router import settings_of_router

QUANTIZE_VARIABLES = ("QUANTIZE", "HF_MODEL_QUANTIZE")


@dataclass(frozen=True)
class Plan:
    """What the stock launcher is started with; `added` are the variables that it would not have had."""

    arguments: list[str]
    environment: dict[str, str]
    added: Mapping[str, str]


def plan(
    arguments: list[str],
    environment: Mapping[str, str],
    settings_of_machine: Callable[[CommandLine], dict[str, str]] = lambda _: {},
    unserved_types: Mapping[str, str] = model.UNSERVED_TYPES,
) -> Plan:
    """Return what to start the launcher with: exactly what was given, unless AutoRound is asked for or found.

    `settings_of_machine` gives variables that servers of AutoRound models need on one kind of machine only;
    `unserved_types` says why the server there cannot take certain architectures.

    Raises ConfigError for options that contradict each other or the model, CheckpointError and UnsupportedError for a
    model that cannot be read or served.
    """
    line = CommandLine(tuple(arguments), sagemaker.translated(environment))
    forced = line.asks_for_auto_round
    if not forced and (line.asks_for_information or not _is_auto_round_model(line)):
        return Plan(arguments, dict(environment), {})
    added = {} if line.asks_for_information else settings_of_machine(line) | _settings(line, unserved_types)
    if not forced:
        return Plan(arguments, {**line.environment, **added}, added)
    kept = {name: value for name, value in line.environment.items() if name not in QUANTIZE_VARIABLES}
    return Plan(line.without_quantize(), {**kept, **added}, added)


def _model_id(line: CommandLine) -> str:
    model_id = line.value("--model-id")
    if not model_id:
        raise ConfigError("--quantize auto-round: no model; give --model-id (or MODEL_ID) a directory or a hub id")
    return model_id


def _is_auto_round_model(line: CommandLine) -> bool:
    """Whether the model says so; one that cannot be read is the launcher's to report."""
    if not line.value("--model-id"):
        return False
    try:
        return is_auto_round_config(read_config(find_small_files(line, _model_id(line), [CONFIG_FILE])))
    except CheckpointError:
        return False


def _settings(line: CommandLine, unserved_types: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that shards, router and launcher need to serve this AutoRound model."""
    directory = find_small_files(line, _model_id(line), [CONFIG_FILE, *TOKENIZER_FILES])
    config = read_config(directory)
    model.is_chosen(QUANTIZE_CHOICE if line.asks_for_auto_round else line.value(QUANTIZE), config)
    model.check_served(config, unserved_types)
    view = readable_by_transformers_4(directory)
    settings = {FORCE_VARIABLE: "1"} if line.asks_for_auto_round else {}
    settings |= settings_of_router(line, directory, view)
    if config.get("model_type") in model.UNCAPTURABLE_TYPES and line.value("--cuda-graphs") is None:
        settings["CUDA_GRAPHS"] = "0"
    launcher_config = parse_launcher_config(read_config(view)) if is_lost_on_launcher(config) else None
    return settings | (derived_settings(launcher_config, line) if launcher_config else {})
