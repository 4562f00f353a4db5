"""Which models of transformers are common decoders, and in what they differ."""

from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedConfig

Activation = Literal["silu", "gelu", "gelu_tanh"]
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
"""transformers' names of those that a decoder's forward knows."""
STATIC_ROPES = ("default", "linear", "llama3", "yarn")
"""Those whose frequencies do not depend on how long a sequence is."""


@dataclass(frozen=True, slots=True)
class Family:
    """Where a model's code departs from Llama's.

    norms_from_one: norms multiply by 1 + weight
    norms_outputs: what attention and MLP put out is normed before it is added
    window_in_config: every layer has the config's sliding window, not one that the layer itself names
    """

    norms_from_one: bool = False
    norms_outputs: bool = False
    window_in_config: bool = False
    activation_field: str = "hidden_act"


FAMILIES = {
    "llama": Family(),
    "mistral": Family(window_in_config=True),
    "qwen2": Family(),
    "qwen3": Family(),
    "phi3": Family(window_in_config=True),
    "gemma": Family(norms_from_one=True),
    "gemma2": Family(norms_from_one=True, norms_outputs=True, activation_field="hidden_activation"),
    "gemma3_text": Family(norms_from_one=True, norms_outputs=True, activation_field="hidden_activation"),
}


def unsuited(model: Any) -> str | None:
    """Return why a model, loaded or not, is no common decoder; None where it is one."""
    config = model.config
    if not type(model).__module__.startswith("transformers.models."):
        return f"{type(model).__name__} is code of its own"
    if config.model_type not in FAMILIES:
        return f"models of type {config.model_type} are not among {', '.join(FAMILIES)}"
    if activation_name(config) not in ACTIVATIONS:
        return f"its activation {activation_name(config)} is not among {', '.join(ACTIVATIONS)}"
    for parameters in _rope_parameters(config):
        if parameters.get("rope_type") not in STATIC_ROPES:
            return f"its rope_type {parameters.get('rope_type')} is not among {', '.join(STATIC_ROPES)}"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention looks ahead"
    return None


def activation_name(config: PreTrainedConfig) -> str:
    """Return transformers' name of the activation of the MLP's gate."""
    name: str = getattr(config, FAMILIES[config.model_type].activation_field)
    return name


def _rope_parameters(config: PreTrainedConfig) -> list[dict[str, Any]]:
    """One for the whole model, or one for each type of layers."""
    parameters: dict[str, Any] = config.rope_parameters
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]
