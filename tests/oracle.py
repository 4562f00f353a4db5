"""A plain transformers model whose weights come from the tests' own decoder: what a checkpoint must compute."""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.decoder import decode_checkpoint


def dequantized_model(model_dir: Path) -> PreTrainedModel:
    """Return the float32 model of a quantized checkpoint."""
    config = AutoConfig.from_pretrained(model_dir)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config).float().eval()
    layers = decode_checkpoint(model_dir)
    file = safe_open(model_dir / "model.safetensors", framework="pt")
    weights = {
        name: file.get_tensor(name).float()
        for name in file.keys()  # noqa: SIM118
        if name.rpartition(".")[0] not in layers
    }
    weights.update({f"{name}.weight": torch.from_numpy(layer["weight"]) for name, layer in layers.items()})
    missing, surplus = model.load_state_dict(weights, strict=False)
    assert not surplus
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model
