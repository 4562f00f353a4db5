from text_generation_server.layers.tensor_parallel import TensorParallelHead
from text_generation_server.utils.quantization import get_loader

NATIVE_TYPES = {"llama", "opt"}


class HeadConfig:
    def __init__(self, quantize: str | None) -> None:
        self.quantize = quantize


class NativeModel:
    def __init__(self, model_id: str, revision: str | None, quantize: str | None, dtype: str | None) -> None:
        self.model_id = model_id
        self.quantize = quantize
        self.dtype = dtype
        self.loader = get_loader(quantize, model_id, revision)
        self.head = TensorParallelHead.load(HeadConfig(quantize), "lm_head", self.loader)

    def description(self) -> dict:
        return {
            "model_id": self.model_id,
            "quantize": self.quantize,
            "dtype": self.dtype,
            "model": type(self).__name__,
            "loader": type(self.loader).__name__,
            "head": type(self.head.linear).__name__,
        }
