"""A plain transformers model whose weights come from the tests' own decoder: what a checkpoint must compute."""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.decoder import PARTS, decode_checkpoint

MIXTRAL_NAMES = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
CONV1D_MODELS = ("gpt2",)


def dequantized_model(model_dir: Path) -> PreTrainedModel:
    """Return the float32 model of a quantized checkpoint, loaded by transformers' own rules."""
    config = AutoConfig.from_pretrained(model_dir)
    del config.quantization_config
    model_class = type(AutoModelForCausalLM.from_config(config))
    model, report = model_class.from_pretrained(
        None, config=config, state_dict=_weights(model_dir, config.model_type), dtype=torch.float32,
        output_loading_info=True,
    )  # fmt: skip
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


def _weights(model_dir: Path, model_type: str) -> dict[str, torch.Tensor]:
    layers = decode_checkpoint(model_dir)
    weights = {f"{name}.weight": torch.from_numpy(layer["weight"]) for name, layer in layers.items()}
    if model_type in CONV1D_MODELS:
        weights = {name: weight.t() for name, weight in weights.items()}
    for path in model_dir.glob("*.safetensors"):
        file = safe_open(path, framework="pt")
        plain = (name for name in file.keys() if not name.endswith(PARTS))  # noqa: SIM118
        weights.update({name: file.get_tensor(name).float() for name in plain})
    if model_type == "mixtral":
        weights = {_mixtral_name(name): weight for name, weight in weights.items()}
    return weights


def _mixtral_name(name: str) -> str:
    """auto-round 0.16.1 mixes Mixtral's own names of modules with those of other models' projections."""
    for theirs, own in MIXTRAL_NAMES.items():
        name = name.replace(f".{theirs}.", f".{own}.")
    return name
