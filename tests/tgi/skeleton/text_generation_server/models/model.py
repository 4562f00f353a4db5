class Model:
    """What get_model returns. `parts` names the classes that loaded it."""

    def __init__(self, model_id: str, quantize: str | None, dtype: str | None, **parts: object) -> None:
        self.model_id = model_id
        self.quantize = quantize
        self.dtype = dtype
        self.parts = parts

    def description(self) -> dict:
        return {
            "model_id": self.model_id,
            "quantize": self.quantize,
            "dtype": self.dtype,
            "model": type(self).__name__,
            **{name: type(part).__name__ for name, part in self.parts.items()},
        }
