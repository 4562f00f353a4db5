"""`tgi-autoround serve`: the command line made from the fields of `ServeConfig`."""

import dataclasses
import inspect
import os
from typing import Any

import typer

from tgi_autoround.server import logs
from tgi_autoround.server.listener import bind
from tgi_autoround.server.settings import OWN_VARIABLES_PREFIX, SAGEMAKER_VARIABLES, ServeConfig, checked, flag


def serve(**options: Any) -> None:
    """Serve a model behind Text Generation Inference's HTTP API."""
    config = checked(ServeConfig(**options))
    logs.set_up(as_json=config.json_output)
    listener = bind(config.hostname, config.port)
    # By default OpenMP's threads spin while they wait, which on a shared processor is what they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Imported late: what is wrong with the options, the port or the model is said without loading torch.
    from tgi_autoround.server.model_source import find_model

    source = find_model(config)
    from tgi_autoround.server.run import run

    run(config, source, listener)


def _parameter(field: "dataclasses.Field[Any]") -> inspect.Parameter:
    repeatable = field.default == ()
    own = field.metadata.get("own")
    # Only a switch that is on needs a flag to be switched off.
    flags = f"{flag(field.name)}/--no-{flag(field.name)[2:]}" if field.default is True else flag(field.name)
    option = typer.Option(
        [] if repeatable else field.default,
        flags,
        envvar=_variables(field),
        help=field.metadata["help"],
        hidden="neutral" in field.metadata,
        rich_help_panel="Beyond TGI" if own else None,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option,
        annotation=list[str] if repeatable else field.type,
    )


def _variables(field: "dataclasses.Field[Any]") -> list[str]:
    if field.name == "env":
        return []
    own_prefix = OWN_VARIABLES_PREFIX if field.metadata.get("own") else ""
    variable = field.metadata.get("variable") or own_prefix + field.name.upper()
    return [variable, *filter(None, [SAGEMAKER_VARIABLES.get(field.name)])]


# typer reads a command's options from its signature; ServeConfig is their one definition.
serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_parameter(field) for field in dataclasses.fields(ServeConfig)]
)
