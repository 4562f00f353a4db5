from text_generation_server.models.loaded_by_transformers import AutoModelForCausalLM
from text_generation_server.models.model import Model


class TransformersFlashCausalLM(Model):
    def __init__(
        self,
        model_id: str,
        revision: str | None = None,
        quantize: str | None = None,
        dtype: str | None = None,
    ) -> None:
        loaded = AutoModelForCausalLM.from_pretrained(model_id, revision=revision)
        super().__init__(model_id, quantize, dtype, loader=loaded)
