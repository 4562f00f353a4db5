from text_generation_server.layers.tensor_parallel import TensorParallelHead
from text_generation_server.models.model import Model
from text_generation_server.utils.quantization import get_loader

NATIVE_TYPES = {"llama", "opt"}


class HeadConfig:
    def __init__(self, quantize: str | None) -> None:
        self.quantize = quantize


class FlashCausalLM(Model):
    def __init__(self, model_id: str, revision: str | None, quantize: str | None, dtype: str | None) -> None:
        loader = get_loader(quantize, model_id, revision)
        head = TensorParallelHead.load(HeadConfig(quantize), "lm_head", loader)
        super().__init__(model_id, quantize, dtype, loader=loader, head=head.linear)
