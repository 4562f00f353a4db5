"""Rotary positions whose frequencies depend on how long a sequence is.

transformers takes the longest of a batch, so that one request would change another's output. Up to the length that the
model was trained with first, the frequencies are the same for all. `dynamic` ones change above max_position_embeddings
only, which no request reaches.
"""

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from tgi_autoround.errors import UnsupportedError


def check_rope(config: PreTrainedConfig, max_tokens: int) -> None:
    """Raise UnsupportedError where sequences of `max_tokens` would be rotated by more than one set of frequencies."""
    for parameters in _rope_parameters(config.get_text_config()):
        if parameters.get("rope_type") != "longrope":
            continue
        original = parameters["original_max_position_embeddings"]
        if max_tokens > original:
            raise UnsupportedError(
                f"rope_type 'longrope' turns sequences of more than {original} tokens in another way, which depends "
                f"on all that are in the batch; serve the model with --max-total-tokens {original} or less"
            )


def _rope_parameters(config: PreTrainedConfig) -> Iterator[dict[str, Any]]:
    """One for the whole model, or one for each type of layers."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    yield from nested or [parameters]
