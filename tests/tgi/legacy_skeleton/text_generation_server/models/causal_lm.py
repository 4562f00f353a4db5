"""Small stand-in for tgi-gaudi 2.0's CausalLM, which has transformers load the model."""

import importlib.util

import torch
from transformers import AutoModelForCausalLM

DEVICE = "cpu"
if importlib.util.find_spec("habana_frameworks"):
    import habana_frameworks.torch  # noqa: F401

    DEVICE = "hpu"


class CausalLM:
    def __init__(self, model_id, revision=None, dtype=None):
        self.model = AutoModelForCausalLM.from_pretrained(
            model_id, revision=revision, torch_dtype=getattr(torch, dtype), trust_remote_code=False
        )
        self.model = self.model.eval().to(torch.device(DEVICE))

    @torch.no_grad()
    def logits(self, tokens):
        return self.model(torch.tensor([tokens], device=DEVICE)).logits[0, -1].float().tolist()
