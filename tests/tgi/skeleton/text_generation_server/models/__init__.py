import json
from pathlib import Path

from text_generation_server.models.causal_lm import CausalLM
from text_generation_server.models.flash_causal_lm import NATIVE_TYPES, FlashCausalLM
from text_generation_server.models.loaded_by_transformers import VisionLanguageModel
from text_generation_server.models.model import Model
from text_generation_server.models.seq2seq_lm import Seq2SeqLM
from text_generation_server.models.transformers_flash_causal_lm import TransformersFlashCausalLM
from text_generation_server.models.transformers_flash_vlm import TransformersFlashVlmCausalLM

FLASH_TRANSFORMERS_BACKEND = True


def get_model(
    model_id: str,
    revision: str | None,
    sharded: bool,
    quantize: str | None,
    dtype: str | None,
) -> Model:
    global FLASH_TRANSFORMERS_BACKEND

    config_dict = json.loads(Path(model_id, "config.json").read_text(encoding="utf-8"))
    if quantize is None:
        quantize = config_dict.get("quantization_config", {}).get("quant_method")

    if config_dict["model_type"] in NATIVE_TYPES:
        return FlashCausalLM(model_id, revision, quantize, dtype)
    if "vision_config" in config_dict:
        return TransformersFlashVlmCausalLM(model_id, VisionLanguageModel, revision, quantize, dtype)
    if config_dict.get("is_encoder_decoder"):
        return Seq2SeqLM.fallback(model_id, revision, quantize, dtype)
    if FLASH_TRANSFORMERS_BACKEND and not sharded:
        return TransformersFlashCausalLM(model_id, revision, quantize, dtype)
    return CausalLM.fallback(model_id, revision, quantize, dtype)
