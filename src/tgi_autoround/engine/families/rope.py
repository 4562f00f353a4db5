"""Rotary positions whose frequencies depend on how long a sequence is.

transformers takes the longest of a batch, so that one request would change another's output. Up to the length that the
model was trained with first, the frequencies are the same for all.
"""

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from tgi_autoround.errors import UnsupportedError

DEPENDENT_ON_LENGTH = ("dynamic", "longrope")
ORIGINAL = "original_max_position_embeddings"


def check_rope(config: PreTrainedConfig, max_tokens: int) -> None:
    """Raise UnsupportedError where sequences of `max_tokens` would be rotated by more than one set of frequencies."""
    text = config.get_text_config()
    for parameters in _rope_parameters(text):
        rope_type = parameters.get("rope_type")
        if rope_type not in DEPENDENT_ON_LENGTH:
            continue
        original = text.max_position_embeddings if rope_type == "dynamic" else parameters[ORIGINAL]
        if max_tokens > original:
            raise UnsupportedError(
                f"rope_type {rope_type!r} turns sequences of more than {original} tokens in another way, which depends "
                f"on all that are in the batch; serve the model with --max-total-tokens {original} or less"
            )


def _rope_parameters(config: PreTrainedConfig) -> Iterator[dict[str, Any]]:
    """One for the whole model, or one for each type of layers."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    yield from nested or [parameters]
