"""`python -m tgi_autoround.tgi.legacy.launcher`: tgi-gaudi 2.0's launcher, which this becomes, with AutoRound.

The router reads a model's files by the model id alone (router/src/main.rs, 2.0.5), so a model whose files are too new
for it is handed over as a view of them, to router and server alike.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgi_autoround.errors import CheckpointError
from tgi_autoround.tgi import model
from tgi_autoround.tgi.environment import FORCE_VARIABLE, QUANTIZE_CHOICE
from tgi_autoround.tgi.launcher.command import main
from tgi_autoround.tgi.launcher.command_line import QUANTIZE, CommandLine
from tgi_autoround.tgi.launcher.model_files import CONFIG_FILE, find_small_files, read_config
from tgi_autoround.tgi.launcher.plan import Plan
from tgi_autoround.tgi.legacy.environment import TENSORS_VARIABLE
from tgi_autoround.tgi.legacy.view import readable_by_transformers_4_43

MODEL_ID, REVISION = "--model-id", "--revision"
TOKEN, TOKEN_OF_ROUTER = "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"
"""The router reads the second one alone (router/src/main.rs, 2.0.5)."""


def plan(arguments: list[str], environment: Mapping[str, str]) -> Plan:
    """Return what to start the launcher with: exactly what was given, unless AutoRound is asked for or found.

    Raises ConfigError for options that contradict each other or the model, CheckpointError and UnsupportedError for a
    model that cannot be read.
    """
    line = CommandLine(tuple(arguments), environment)
    forced = line.asks_for_auto_round
    model_id = line.value(MODEL_ID)
    if model_id is None or line.asks_for_information:
        return Plan(line.without(QUANTIZE) if forced else arguments, dict(environment), {})
    config = _config(line, model_id, forced)
    if not model.is_chosen(QUANTIZE_CHOICE if forced else line.value(QUANTIZE), config):
        return Plan(arguments, dict(environment), {})
    directory = find_small_files(line, model_id, list(model.FILES))
    return _plan_with(line, directory, ({FORCE_VARIABLE: "1"} if forced else {}) | _token_of_router(environment))


def _token_of_router(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get(TOKEN)
    return {TOKEN_OF_ROUTER: token} if token and not environment.get(TOKEN_OF_ROUTER) else {}


def _config(line: CommandLine, model_id: str, forced: bool) -> Mapping[str, Any]:
    """Return config.json's content; an empty one where it cannot be read, which is the launcher's to report."""
    try:
        return read_config(find_small_files(line, model_id, [CONFIG_FILE]))
    except CheckpointError:
        if forced:
            raise
        return {}


def _plan_with(line: CommandLine, directory: Path, added: dict[str, str]) -> Plan:
    left_out = [QUANTIZE]
    view = readable_by_transformers_4_43(directory)
    if view != directory:
        added |= {"MODEL_ID": str(view), TENSORS_VARIABLE: str(directory.resolve())}
        left_out += [MODEL_ID, REVISION]
    names = {option.removeprefix("--").replace("-", "_").upper() for option in left_out}
    kept = {name: value for name, value in line.environment.items() if name not in names}
    return Plan(line.without(*left_out), {**kept, **added}, added)


if __name__ == "__main__":
    main(plan)
