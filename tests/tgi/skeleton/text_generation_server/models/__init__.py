import json
from pathlib import Path

from text_generation_server.models.native import NATIVE_TYPES, NativeModel
from text_generation_server.models.transformers_flash_causal_lm import TransformersFlashCausalLM

FLASH_TRANSFORMERS_BACKEND = True


def get_model(
    model_id: str,
    revision: str | None,
    sharded: bool,
    quantize: str | None,
    dtype: str | None,
) -> NativeModel | TransformersFlashCausalLM:
    global FLASH_TRANSFORMERS_BACKEND

    config_dict = json.loads(Path(model_id, "config.json").read_text(encoding="utf-8"))
    if quantize is None:
        quantize = config_dict.get("quantization_config", {}).get("quant_method")

    if config_dict["model_type"] in NATIVE_TYPES:
        return NativeModel(model_id, revision, quantize, dtype)

    if quantize == "gptq":
        raise NotImplementedError("gptq needs a native model")
    if quantize == "awq":
        raise NotImplementedError("awq needs a native model")

    return TransformersFlashCausalLM(model_id, revision, quantize, dtype)
