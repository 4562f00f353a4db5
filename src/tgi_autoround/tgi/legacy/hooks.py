"""What the patch inserts into tgi-gaudi 2.0's server: calls of these functions, and nothing else.

| tgi-gaudi calls | where |
|---|---|
| resolve_model | cli.py `serve`, before anything else |
| auto_model_class | models/causal_lm.py `CausalLM.__init__`, in place of AutoModelForCausalLM |

Nothing heavy is imported before it is needed: tgi-gaudi's command line imports this module too.
"""

import enum
import os
from pathlib import Path
from typing import Any

from tgi_autoround.errors import ConfigError, UnsupportedError
from tgi_autoround.tgi import model
from tgi_autoround.tgi.environment import QUANTIZE_CHOICE
from tgi_autoround.tgi.legacy.environment import TENSORS_VARIABLE

_directories: dict[str, Path] = {}
"""Model id as the server has it from `resolve_model` on -> the user's own directory, which holds the tensors."""

VISION_TYPE = "llava_next"
"""The one model type that does not go through CausalLM (models/__init__.py, 2.0.4 and 2.0.5)."""


def resolve_model(
    model_id: str,
    revision: str | None,
    quantize: enum.Enum | None,
    sharded: bool,
    dtype: enum.Enum | None,
) -> tuple[str, str | None, enum.Enum | None]:
    """Return what the server is to go on with: model id, revision and `quantize`, changed only for AutoRound models.

    Raises ConfigError, UnsupportedError and CheckpointError where the model cannot be served as asked.
    """
    config = model.read_config(model_id, revision)
    if not model.is_chosen(None if quantize is None else quantize.value, config):
        return model_id, revision, quantize
    _check_served(config.get("model_type"), sharded, dtype)
    from tgi_autoround.tgi.legacy.view import readable_by_transformers_4_43

    directory = Path(os.environ.get(TENSORS_VARIABLE) or model.directory_of(model_id, revision))
    view = readable_by_transformers_4_43(directory)
    if view != directory:
        model_id, revision = str(view), None
    _directories[model_id] = directory
    return model_id, revision, None


def auto_model_class(model_id: str) -> Any:
    """Return what the server calls `from_pretrained` of: our builder for a model that `resolve_model` has chosen."""
    if model_id not in _directories:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM
    from tgi_autoround.tgi.legacy.auto_model import GaudiAutoModel

    return GaudiAutoModel(_directories[model_id])


def _check_served(model_type: object, sharded: bool, dtype: enum.Enum | None) -> None:
    if sharded:
        raise UnsupportedError(
            "auto-round: tgi-gaudi 2.0 shards models by DeepSpeed, which splits floating-point layers only; leave "
            "--sharded and --num-shard away to serve on one card, or use TGI 3.3.7 on Gaudi, which shards AutoRound's"
        )
    if model_type == VISION_TYPE:
        raise UnsupportedError(f"auto-round: {VISION_TYPE} has model code of tgi-gaudi's own, which reads floats only")
    if dtype is not None and dtype.value != "bfloat16":
        raise UnsupportedError(
            f"auto-round: tgi-gaudi 2.0 turns --dtype {dtype.value} into float32 without a word (server.py, `serve`); "
            "leave --dtype away, or give bfloat16"
        )
    if os.environ.get("QUANT_CONFIG"):
        raise ConfigError(
            f"--quantize {QUANTIZE_CHOICE}: QUANT_CONFIG asks for FP8 on top of AutoRound's weights; unset it"
        )
