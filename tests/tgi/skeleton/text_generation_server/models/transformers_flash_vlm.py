from text_generation_server.models.loaded_by_transformers import AutoModel
from text_generation_server.models.model import Model


class TransformersFlashVlmCausalLM(Model):
    def __init__(
        self,
        model_id: str,
        model_class: type[AutoModel],
        revision: str | None = None,
        quantize: str | None = None,
        dtype: str | None = None,
    ) -> None:
        loaded = model_class.from_pretrained(model_id, revision=revision)
        super().__init__(model_id, quantize, dtype, loader=loaded)
