"""What TGI's router needs for a tokenizer that transformers 5 wrote; the shards get theirs from `hooks.resolve_model`.

The router (router/src/server.rs, v3.3.7) knows the model only by the user's own name, and reads two things there:
- the chat template, from tokenizer_config.json alone (1662-1689); TOKENIZER_CONFIG_PATH puts another file in its place.
- the tokenizer: transformers loads it and saves it as out/tokenizer.json in the working directory (1435-1459), which is
  then read (1691-1715). Loading fails for classes that only transformers 5 has, saying so in the log, and the file is
  read all the same; it is put there beforehand. A class of the same name in both may load and give other tokens than
  the shards', whose cache of prefixes goes by the router's: that is refused.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from tgi_autoround.errors import CheckpointError, UnsupportedError
from tgi_autoround.tgi.launcher.command_line import CommandLine

TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER = "tokenizer.json"
SAVED_BY_ROUTER = Path("out") / TOKENIZER
SAMPLES = ("", "Hello, world", " two  blanks", "naïve 東京 🙂", "line\nline\t1234567890")

Encode = Callable[[str], list[int]]


def settings_of_router(line: CommandLine, directory: Path, view: Path) -> dict[str, str]:
    """Return the variables that the router needs to read the tokenizer; put the tokenizer where it looks.

    `view` is what `readable_by_transformers_4` made of the model's directory; empty where no tokenizer was repaired.

    Raises CheckpointError where the working directory cannot be written to, UnsupportedError where the router would
    read other tokens than the shards.
    """
    tokenizer_config = view / TOKENIZER_CONFIG
    if view == directory or tokenizer_config.is_symlink() or not tokenizer_config.exists():
        return {}
    if (view / TOKENIZER).is_file():
        _put_tokenizer(view)
        check_same_tokens(_encoder(directory), _encoder(view), directory)
    is_set = line.value("--tokenizer-config-path") is not None
    return {} if is_set else {"TOKENIZER_CONFIG_PATH": str(tokenizer_config)}


def check_same_tokens(of_router: Encode | None, of_shards: Encode | None, directory: Path) -> None:
    """Raise UnsupportedError where both can be loaded and encode a sample differently."""
    if of_router is None or of_shards is None:
        return
    for sample in SAMPLES:
        tokens, wanted = of_router(sample), of_shards(sample)
        if tokens != wanted:
            raise UnsupportedError(
                f"{directory / TOKENIZER_CONFIG}: TGI's router would encode {sample!r} as {tokens}, and transformers 5 "
                f"wrote a tokenizer that gives {wanted}; state add_bos_token and add_eos_token there as the tokenizer "
                'has them, or set tokenizer_class to "PreTrainedTokenizerFast"'
            )


def _encoder(directory: Path) -> Encode | None:
    """Return how the transformers of this image encodes with a directory's tokenizer, None where it cannot load it."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except Exception:  # whatever it is, the router meets it too and goes on without
        return None
    return lambda text: list(tokenizer(text)["input_ids"])


def _put_tokenizer(view: Path) -> None:
    try:
        SAVED_BY_ROUTER.parent.mkdir(exist_ok=True)
        shutil.copyfile(view / TOKENIZER, SAVED_BY_ROUTER)
    except OSError as error:
        raise CheckpointError(
            f"{SAVED_BY_ROUTER.absolute()}, where TGI's router reads the tokenizer from, cannot be written: "
            f"{error.strerror}; run in a directory that can be written to"
        ) from error
