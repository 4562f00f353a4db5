"""What the patches insert into TGI's server: calls of these functions, and nothing else.

| TGI calls | where |
|---|---|
| take_cli_choice | cli.py `serve`, before anything else |
| resolve_model | models/__init__.py `get_model`, before anything else |
| get_loader | utils/quantization.py `get_loader`, for auto-round |
| is_quantized_head, load_head | layers/tensor_parallel.py `TensorParallelHead.load`, for auto-round |
| auto_model_class | models/transformers_flash_causal_lm.py, in place of AutoModelForCausalLM |
| refuse_transformers | wherever else TGI lets transformers load a model, which would leave weights random |
| refuse_float32 | models/flash_causal_lm.py `FlashCausalLM.__init__` of the Gaudi server, before anything else |

Nothing heavy is imported before it is needed: TGI's command line imports this module too.
"""

import enum
import os
from pathlib import Path
from typing import Any

from tgi_autoround.errors import UnsupportedError
from tgi_autoround.tgi import model
from tgi_autoround.tgi.environment import FORCE_VARIABLE, QUANTIZE_CHOICE

_directories: dict[str, Path] = {}
"""Model id as TGI has it from `resolve_model` on -> the user's own directory, which holds the tensors."""


def take_cli_choice(quantize: enum.Enum | None) -> enum.Enum | None:
    """Hand an explicit auto-round over to `resolve_model`, so that TGI does not see it and allows `--dtype`.

    So goes what the launcher added by itself, from the config of a model that AutoRound exported in another format.
    """
    if quantize is None or quantize.value == QUANTIZE_CHOICE:
        if quantize is not None:
            os.environ[FORCE_VARIABLE] = "1"
        return None
    is_added = os.environ.get(FORCE_VARIABLE) == "1" and quantize.value in model.ADDED_BY_LAUNCHER
    return None if is_added else quantize


def resolve_model(model_id: str, revision: str | None, quantize: str | None) -> tuple[str, str | None, str | None]:
    """Return what TGI is to go on with: model id, revision and `quantize`, changed only for AutoRound models.

    Raises ConfigError and UnsupportedError where the model cannot be served as asked.
    """
    config = model.read_config(model_id, revision)
    if not model.is_chosen(quantize, config):
        return model_id, revision, quantize
    model.check_served(config)
    from tgi_autoround.checkpoint.compat import readable_by_transformers_4

    directory = model.directory_of(model_id, revision)
    view = readable_by_transformers_4(directory)
    if view != directory:
        model_id, revision = str(view), None
    _directories[model_id] = directory
    return model_id, revision, QUANTIZE_CHOICE


def get_loader(model_id: str, revision: str | None) -> Any:
    """Return the weights loader of a model that `resolve_model` has seen. Raises as `open_checkpoint` does."""
    from tgi_autoround.checkpoint import open_checkpoint
    from tgi_autoround.tgi.fused_experts import are_fused
    from tgi_autoround.tgi.loader import AutoRoundWeightsLoader

    checkpoint = open_checkpoint(_directory(model_id, revision))
    model.check_head(checkpoint.config, checkpoint.quantized_layers)
    if are_fused(checkpoint):
        from tgi_autoround.tgi.marlin_experts import MarlinExpertsLoader

        return MarlinExpertsLoader(checkpoint)
    return AutoRoundWeightsLoader(checkpoint)


def is_quantized_head(prefix: str, weights: Any) -> bool:
    """Return whether the files hold the head's weight as packed integers."""
    from tgi_autoround.tgi.loader import is_quantized

    return is_quantized(weights, prefix)


def load_head(head_class: Any, prefix: str, weights: Any) -> Any:
    """Return a `head_class`, TGI's TensorParallelHead, over a quantized lm_head."""
    return weights.weights_loader.load_head(head_class, weights, prefix)


def auto_model_class(quantize: str | None) -> Any:
    """Return what TGI calls `from_pretrained` of, for architectures that it runs on transformers' code."""
    if quantize != QUANTIZE_CHOICE:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM
    from tgi_autoround.tgi.auto_model import AutoRoundAutoModel

    return AutoRoundAutoModel(_directory)


def refuse_transformers(quantize: str | None, what: str) -> None:
    """Raise UnsupportedError for auto-round where TGI would let transformers load the model.

    transformers 4.51, TGI's, skips quantization methods that it does not know and serves random weights.
    """
    if quantize == QUANTIZE_CHOICE:
        raise UnsupportedError(
            f"auto-round: TGI has no code of its own for this model on this machine and would run it as {what}, "
            "which cannot load packed weights; `tgi-autoround serve` may take the model"
        )


def refuse_float32(quantize: str | None, dtype: object) -> None:
    """Raise UnsupportedError where the Gaudi server was given `--dtype float16`, which it silently makes float32.

    Its server.py:251 (3.3.7) knows bfloat16 and float32 only.
    """
    if quantize == QUANTIZE_CHOICE and str(dtype) == "torch.float32":
        raise UnsupportedError(
            "auto-round: TGI on Gaudi turns --dtype float16 into float32 without a word; "
            "leave --dtype away, or give bfloat16"
        )


def _directory(model_id: str, revision: str | None) -> Path:
    return _directories.get(model_id) or model.directory_of(model_id, revision)
