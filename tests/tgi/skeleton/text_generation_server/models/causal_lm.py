from text_generation_server.models.loaded_by_transformers import AutoModelForCausalLM
from text_generation_server.models.model import Model


class CausalLM(Model):
    @classmethod
    def fallback(
        cls,
        model_id: str,
        revision: str | None = None,
        quantize: str | None = None,
        dtype: str | None = None,
    ) -> "CausalLM":
        loaded = AutoModelForCausalLM.from_pretrained(model_id, revision=revision)
        return cls(model_id, quantize, dtype, loader=loaded)
