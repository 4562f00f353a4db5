"""`tgi-autoround inspect MODEL`. Only the command line itself is imported here, so that `--help` is fast."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from tgi_autoround.errors import ConfigError

DEVICES = ("cpu", "cuda", "hpu")


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model directory.", show_default=False)],
    device: Annotated[str, typer.Option(help="Where it would run: cpu, cuda or hpu (none need be here).")] = "cpu",
    tp: Annotated[int, typer.Option(min=1, help="Devices that share the model by tensor parallelism.")] = 1,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every layer too, and look for broken values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show what a quantized model holds, how it would be served, and what is wrong with it (exit code 1)."""
    if device not in DEVICES:
        raise ConfigError(f"--device is {device!r}; kernels are known for {', '.join(DEVICES)}")
    model_dir = Path(model).expanduser()
    if not model_dir.is_dir():
        raise ConfigError(
            f"{model} is not a directory here; download a hub model first: hf download {model} --local-dir DIR"
        )
    from tgi_autoround.inspection.survey import survey

    report = survey(model_dir, device=device, tp=tp, deep=deep)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(report), indent=2))
    else:
        from tgi_autoround.inspection.table import show

        show(report)
    if report.problems:
        raise typer.Exit(1)
