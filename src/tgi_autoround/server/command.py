"""`tgi-autoround serve`: the command line made from the fields of `ServeConfig`."""

import dataclasses
import inspect
from typing import Any

import typer

from tgi_autoround.server import logs
from tgi_autoround.server.listener import bind
from tgi_autoround.server.settings import OWN_VARIABLES_PREFIX, ServeConfig, checked, flag


def serve(**options: Any) -> None:
    """Serve a model behind Text Generation Inference's HTTP API."""
    config = checked(ServeConfig(**options))
    logs.set_up(as_json=config.json_output)
    listener = bind(config.hostname, config.port)
    # Imported late: what is wrong with the options, the port or the model is said without loading torch.
    from tgi_autoround.server.model_source import find_model

    source = find_model(config)
    from tgi_autoround.server.run import run

    run(config, source, listener)


def _parameter(field: "dataclasses.Field[Any]") -> inspect.Parameter:
    prefix = OWN_VARIABLES_PREFIX if field.metadata.get("own") else ""
    repeatable = field.default == ()
    option = typer.Option(
        [] if repeatable else field.default,
        flag(field.name),
        envvar=None if field.name == "env" else prefix + field.name.upper(),
        help=field.metadata["help"],
        hidden="neutral" in field.metadata,
        rich_help_panel="Beyond TGI" if prefix else None,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option,
        annotation=list[str] if repeatable else field.type,
    )


# typer reads a command's options from its signature; ServeConfig is their one definition.
serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_parameter(field) for field in dataclasses.fields(ServeConfig)]
)
