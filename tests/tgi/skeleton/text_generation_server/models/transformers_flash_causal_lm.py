class AutoModelForCausalLM:
    """In the place of the class that TGI's module imports from transformers under this name."""

    @classmethod
    def from_pretrained(cls, model_id: str, revision: str | None = None) -> "AutoModelForCausalLM":
        return cls()


class TransformersFlashCausalLM:
    def __init__(
        self,
        model_id: str,
        revision: str | None = None,
        quantize: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.model_id = model_id
        self.quantize = quantize
        self.dtype = dtype
        self.model = AutoModelForCausalLM.from_pretrained(model_id, revision=revision)

    def description(self) -> dict:
        return {
            "model_id": self.model_id,
            "quantize": self.quantize,
            "dtype": self.dtype,
            "model": type(self).__name__,
            "loader": type(self.model).__name__,
        }
