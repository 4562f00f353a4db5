"""`tgi-autoround bench tune`: time the Hopper kernels on the present GPU and write the table of the fastest."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tgi_autoround.errors import UnsupportedError

bench = typer.Typer(no_args_is_help=True, help="Measurements on the machine at hand.")

LLAMA_8B = ["4096x4096", "6144x4096", "28672x4096", "4096x14336"]


class Type(str, Enum):
    """The activations'."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@bench.callback()
def _bench() -> None:
    """Measurements on the machine at hand."""


@bench.command()
def tune(
    layers: Annotated[
        list[str] | None, typer.Argument(help="OUTxIN, such as 4096x14336; default: an 8B Llama's")
    ] = None,
    bits: Annotated[int, typer.Option(help="of codes")] = 4,
    group_size: Annotated[int, typer.Option(help="input features of a group, -1 for all")] = 128,
    dtype: Annotated[Type, typer.Option(help="of activations")] = Type.BFLOAT16,
    table: Annotated[Path | None, typer.Option(help="file to write; default: the package's own")] = None,
) -> None:
    """Time every Hopper kernel on layers of these sizes and write which is the fastest for how many rows."""
    import torch

    from tgi_autoround.bench import tune as tuning
    from tgi_autoround.kernels.cuda.hopper.configuration import TABLE

    if not torch.cuda.is_available():
        raise UnsupportedError("bench tune times kernels on an NVIDIA GPU, and there is none")
    measured = [
        tuning.tune(bits, group_size, *_sides(layer), getattr(torch, dtype.value), typer.echo)
        for layer in layers or LLAMA_8B
    ]
    tuning.write(measured, torch.cuda.get_device_name(), table or TABLE)


def _sides(layer: str) -> tuple[int, int]:
    out_features, _, in_features = layer.partition("x")
    if not (out_features.isdecimal() and in_features.isdecimal()):
        raise typer.BadParameter(f"{layer} is no layer; write OUTxIN, such as 4096x14336")
    return int(out_features), int(in_features)
