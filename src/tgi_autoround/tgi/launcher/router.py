"""What TGI's router needs for a tokenizer that transformers 5 wrote; the shards get theirs from `hooks.resolve_model`.

The router (router/src/server.rs, v3.3.7) knows the model only by the user's own name, and reads two things there:
- the chat template, from tokenizer_config.json alone (1662-1689); TOKENIZER_CONFIG_PATH puts another file in its place.
- the tokenizer: transformers loads it and saves it as out/tokenizer.json in the working directory (1435-1459), which is
  then read (1691-1715). Loading fails for what transformers 5 wrote, saying so in the log, and the file is read all the
  same; it is put there beforehand.
"""

import shutil
from pathlib import Path

from tgi_autoround.errors import CheckpointError
from tgi_autoround.tgi.launcher.command_line import CommandLine

TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER = "tokenizer.json"
SAVED_BY_ROUTER = Path("out") / TOKENIZER


def settings_of_router(line: CommandLine, directory: Path, view: Path) -> dict[str, str]:
    """Return the variables that the router needs to read the tokenizer; put the tokenizer where it looks.

    `view` is what `readable_by_transformers_4` made of the model's directory; empty where no tokenizer was repaired.

    Raises CheckpointError where the working directory cannot be written to.
    """
    tokenizer_config = view / TOKENIZER_CONFIG
    if view == directory or tokenizer_config.is_symlink() or not tokenizer_config.exists():
        return {}
    if (view / TOKENIZER).is_file():
        _put_tokenizer(view)
    is_set = line.value("--tokenizer-config-path") is not None
    return {} if is_set else {"TOKENIZER_CONFIG_PATH": str(tokenizer_config)}


def _put_tokenizer(view: Path) -> None:
    try:
        SAVED_BY_ROUTER.parent.mkdir(exist_ok=True)
        shutil.copyfile(view / TOKENIZER, SAVED_BY_ROUTER)
    except OSError as error:
        raise CheckpointError(
            f"{SAVED_BY_ROUTER.absolute()}, where TGI's router reads the tokenizer from, cannot be written: "
            f"{error.strerror}; run in a directory that can be written to"
        ) from error
