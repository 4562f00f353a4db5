"""The console script `text-generation-server`: TGI's own where TGI is installed, but for AutoRound's `quantize`.

Stands in the place of TGI's script of that name, so all that is not AutoRound's goes to TGI as it came.
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import NoReturn

from tgi_autoround.errors import ConfigError, TgiAutoRoundError
from tgi_autoround.tgi.environment import names_auto_round

NAME = "text-generation-server"
QUANTIZE = "quantize"
UPSTREAMS_METHOD = "gptq"
UPSTREAMS_POSITIONALS = ("--model-id", "--output-dir")
QUANTIZE_IMAGE = "tgi-autoround:quantize"


def main() -> None:
    """Run the command; an error that is the user's to read ends it with a sentence and exit code 1."""
    try:
        _command(sys.argv[1:])()
    except TgiAutoRoundError as error:
        sys.exit(f"{NAME}: {error}")


def _command(arguments: list[str]) -> Callable[[], None]:
    if not _is_installed("text_generation_server"):
        return _quantize_alone
    method = _value(arguments, "--method") if arguments[:1] == [QUANTIZE] else None
    if method is None:
        return _upstream
    if method.lower() == UPSTREAMS_METHOD:
        sys.argv[1:] = [QUANTIZE, *_in_upstreams_terms(arguments[1:])]
        return _upstream
    if not names_auto_round(method):
        raise ConfigError(f"--method {method}: autoround and {UPSTREAMS_METHOD} are known")
    if not _is_installed("auto_round"):
        raise ConfigError(
            "--method autoround: auto-round needs newer torch and transformers than TGI holds; it runs in an image of "
            f"its own, {QUANTIZE_IMAGE}: docker compose run --rm quantize MODEL OUT"
        )
    return _quantize_alone


def _upstream() -> NoReturn:
    from text_generation_server.cli import app

    sys.exit(app())


def _quantize_alone() -> None:
    """Offer `quantize` and nothing else."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), QUANTIZE)
    if command != QUANTIZE:
        raise ConfigError(
            f"{command!r} is not here: this image only quantizes; "
            "to serve a model use `tgi-autoround serve`, or TGI's own images"
        )
    import typer

    from tgi_autoround.quantize.command import CONTEXT_SETTINGS, quantize

    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.command(QUANTIZE, context_settings=CONTEXT_SETTINGS)(quantize)
    app.callback()(_only_quantize)
    app()


def _only_quantize() -> None:
    """Quantize models with AutoRound."""


def _in_upstreams_terms(arguments: list[str]) -> list[str]:
    """Return the arguments less `--method`, with `--MODEL_ID` and `--OUTPUT_DIR` as upstream's positional ones."""
    positionals = [value for value in (_value(arguments, name) for name in UPSTREAMS_POSITIONALS) if value is not None]
    left, words = [], iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if _spelling(name) not in ("--method", *UPSTREAMS_POSITIONALS):
            left.append(word)
        elif not equals:
            next(words, None)
    return [*positionals, *left]


def _value(arguments: list[str], option: str) -> str | None:
    """Return the value of an option in any of the spellings `--model-id`, `--MODEL_ID`, with `=` or a blank."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if _spelling(name) == option:
            return value if equals else next(iter(arguments[index + 1 :]), None)
    return None


def _spelling(name: str) -> str:
    return name.lower().replace("_", "-")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
