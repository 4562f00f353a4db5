"""Hands a step to attention code that takes no arguments from the model's call."""

from typing import Any

from tgi_autoround.engine.attention import StepLayout
from tgi_autoround.errors import UnsupportedError


class CurrentStep:
    """The step that the model's call is in: taken from its arguments, read by its layers."""

    def __init__(self, model: Any) -> None:
        self._layout: StepLayout | None = None
        model.register_forward_pre_hook(self._take, with_kwargs=True)

    @property
    def layout(self) -> StepLayout:
        """Raises UnsupportedError where the model was called without a step."""
        if self._layout is None:
            raise UnsupportedError("a model whose attention reads the engine's cache was called without `step`")
        return self._layout

    def _take(
        self, _model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._layout = kwargs.pop("step", None)
        return args, kwargs
