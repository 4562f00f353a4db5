"""--layer-config FILE -> the layers whose scheme differs from the model's."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tgi_autoround.errors import ConfigError
from tgi_autoround.quantize.config import LayerScheme, check_scheme

FIELDS = {"bits": int, "group_size": int, "sym": bool}


def read_layer_config(path: Path) -> dict[str, dict[str, Any]]:
    """Return the overrides of a JSON file: {layer name, part of a name, or regex: {bits, group_size, sym}}."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--layer-config {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"--layer-config {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--layer-config {path} must hold an object of layer names")
    for name, override in content.items():
        _check_override(name, override)
    return content


def resolve_overrides(
    layers: Iterable[str], default: LayerScheme, overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, LayerScheme]:
    """Return the scheme of each layer that an override names; an exact name wins over a pattern.

    Raises ConfigError for an override that names no layer and for a scheme that auto-round refuses.
    """
    names = list(layers)
    schemes: dict[str, LayerScheme] = {}
    for key in sorted(overrides, key=lambda key: key in names):
        matching = [key] if key in names else [name for name in names if _pattern(key).search(name)]
        if not matching:
            raise ConfigError(f"--layer-config: {key!r} names no linear layer of the model, such as {names[0]!r}")
        scheme = replace(default, **overrides[key])
        check_scheme(scheme, f"--layer-config: {key!r}")
        schemes.update(dict.fromkeys(matching, scheme))
    return schemes


def _check_override(name: str, override: Any) -> None:
    if not isinstance(override, dict) or not override:
        raise ConfigError(f'--layer-config: {name!r} must hold an object such as {{"bits": 8}}')
    for key, value in override.items():
        kind = FIELDS.get(key)
        if kind is None:
            raise ConfigError(f"--layer-config: {name!r} sets {key!r}; known fields are {', '.join(FIELDS)}")
        if type(value) is not kind:
            raise ConfigError(f"--layer-config: {name!r} sets {key} to {value!r}; it must be of type {kind.__name__}")
    _pattern(name)


def _pattern(name: str) -> re.Pattern[str]:
    try:
        return re.compile(name)
    except re.error as error:
        raise ConfigError(
            f"--layer-config: {name!r} is neither a layer name nor a regular expression: {error}"
        ) from error
