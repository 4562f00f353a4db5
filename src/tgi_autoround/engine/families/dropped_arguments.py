"""Models whose attention calls transformers' interface, but whose layers drop the arguments meant for it."""

from typing import Any

from tgi_autoround.engine.families import interface
from tgi_autoround.engine.families.step import CurrentStep


def install(model: Any, max_tokens: int) -> None:
    """Hand the step to the attention of each layer past the layer itself."""
    current = CurrentStep(model)

    def with_step(
        _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "step": current.layout}

    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(with_step, with_kwargs=True)
    interface.install(model, max_tokens)
