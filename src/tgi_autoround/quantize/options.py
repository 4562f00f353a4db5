"""The command line's options -> QuantizeConfig."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgi_autoround.errors import ConfigError
from tgi_autoround.quantize.config import LayerScheme, QuantizeConfig, TuningConfig, check_choice
from tgi_autoround.quantize.overrides import read_layer_config

SCALE_DTYPES = {
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "fp32": "fp32",
}
_SIZE_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Recipe:
    """How long to tune: AutoRound's named trade-offs of time for accuracy."""

    iters: int
    nsamples: int
    lr: float | None = None


RECIPES = {
    "rtn": Recipe(iters=0, nsamples=128),
    "light": Recipe(iters=50, nsamples=128, lr=5e-3),
    "default": Recipe(iters=200, nsamples=128),
    "best": Recipe(iters=1000, nsamples=512),
}


def config_of_options(
    *,
    scheme: Mapping[str, Any],
    tuning: Mapping[str, Any],
    recipe: str,
    layer_config: Path | None,
    max_shard_size: str,
    **options: Any,
) -> QuantizeConfig:
    """Return the job that the command line asks for. Raises ConfigError for what contradicts or cannot be."""
    return QuantizeConfig(
        scheme=LayerScheme(**scheme),
        tuning=tuning_of_recipe(recipe, **tuning),
        layer_config=read_layer_config(layer_config) if layer_config else {},
        max_shard_bytes=parse_size(max_shard_size),
        **options,
    )


def tuning_of_recipe(recipe: str, **options: Any) -> TuningConfig:
    """Return the recipe's tuning with every option that is not None in place of the recipe's value."""
    check_choice("--recipe", recipe, tuple(RECIPES))
    scale_dtype = options.get("scale_dtype")
    if scale_dtype is not None:
        check_choice("--scale-dtype", scale_dtype, tuple(SCALE_DTYPES))
        options["scale_dtype"] = SCALE_DTYPES[scale_dtype]
    given = {name: value for name, value in options.items() if value is not None}
    if recipe == "rtn" and given.get("iters"):
        raise ConfigError("--recipe rtn rounds without tuning; leave --iters away, or choose another recipe")
    base = RECIPES[recipe]
    return TuningConfig(**{"iters": base.iters, "nsamples": base.nsamples, "lr": base.lr, **given})


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `5GB`, `512MiB` or `1000000`. Raises ConfigError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?B)?", text.strip().upper())
    unit = _SIZE_UNITS.get((match.group(2) or "") if match else "?")
    if match is None or unit is None:
        raise ConfigError(f"--max-shard-size is {text!r}; write a size such as 5GB or 512MiB")
    return int(float(match.group(1)) * unit)
