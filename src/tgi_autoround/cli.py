"""`tgi-autoround serve | quantize | inspect | bench`: each command is defined beside the work it starts."""

import sys

import typer

from tgi_autoround.bench.command import bench
from tgi_autoround.errors import TgiAutoRoundError
from tgi_autoround.inspection.command import inspect
from tgi_autoround.quantize.command import quantize
from tgi_autoround.server.command import serve

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(serve)
app.command()(quantize)
app.command()(inspect)
app.add_typer(bench, name="bench")


def main() -> None:
    """Run the command line; an error that is the user's to read ends it with a sentence and exit code 1."""
    try:
        app()
    except TgiAutoRoundError as error:
        sys.exit(f"tgi-autoround: {error}")
