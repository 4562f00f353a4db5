"""In the place of the classes that TGI's modules import from transformers."""


class AutoModel:
    @classmethod
    def from_pretrained(cls, model_id: str, revision: str | None = None) -> "AutoModel":
        return cls()


class AutoModelForCausalLM(AutoModel):
    pass


class AutoModelForSeq2SeqLM(AutoModel):
    pass


class VisionLanguageModel(AutoModel):
    pass
