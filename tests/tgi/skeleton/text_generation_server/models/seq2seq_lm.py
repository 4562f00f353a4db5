from text_generation_server.models.loaded_by_transformers import AutoModelForSeq2SeqLM
from text_generation_server.models.model import Model


class Seq2SeqLM(Model):
    @classmethod
    def fallback(
        cls,
        model_id: str,
        revision: str | None = None,
        quantize: str | None = None,
        dtype: str | None = None,
    ) -> "Seq2SeqLM":
        loaded = AutoModelForSeq2SeqLM.from_pretrained(model_id, revision=revision)
        return cls(model_id, quantize, dtype, loader=loaded)
