"""Random models on a GPU for benchmarks/engine_cuda.py: a Llama of 8B's shape in bfloat16, and packed to 4 bits."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme
from tgi_autoround.engine.decoder import DecoderWeights
from tgi_autoround.kernels import select
from tgi_autoround.linear import QLinear

CUDA = torch.device("cuda", 0)
DTYPE = torch.bfloat16
SHAPE_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
MAX_TOKENS = 1024
WEIGHT_STD = 0.02
CODE_STD = 4.6
"""Of integers drawn evenly from -8 to 7."""


def random_model(layers: int) -> PreTrainedModel:
    """Return a transformers model of the 8B shape, with fewer layers if asked, in bfloat16."""
    config = LlamaConfig(**{**SHAPE_8B, "num_hidden_layers": layers}, max_position_embeddings=MAX_TOKENS, dtype=DTYPE)
    config.bos_token_id = config.eos_token_id = None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPE)
    rotary = type(model.model.rotary_emb)(config).to(CUDA)  # whose buffers have values that no file holds
    model = model.to_empty(device=CUDA)
    model.model.rotary_emb = rotary
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.ones_(parameter)
        else:
            nn.init.normal_(parameter, std=WEIGHT_STD)
    return model.eval()


def packed(linear: nn.Linear) -> QLinear:
    """Return a random layer of a linear's shape: W4, symmetric, groups of 128."""
    scheme = QuantScheme(4, 128, True, Packing.GPTQ)
    spec = LayerSpec("random", scheme, linear.in_features, linear.out_features, has_bias=False)
    in_groups = (spec.num_groups, spec.out_features)
    weight = NormalForm(
        spec,
        codes=torch.randint(0, 16, (spec.in_features, spec.out_features), device=CUDA, dtype=torch.uint8),
        zero_points=torch.full(in_groups, 8, device=CUDA, dtype=torch.int16),
        scales=torch.full(in_groups, WEIGHT_STD / CODE_STD, device=CUDA, dtype=torch.float16),
    )
    return QLinear(weight, select(spec, CUDA, DTYPE), CUDA, DTYPE)


def packed_decoder(weights: DecoderWeights) -> DecoderWeights:
    """Return a decoder of the same shape with random packed linears; embedding, norms and head are shared."""
    layers = [
        replace(
            layer,
            qkv=packed(layer.qkv),
            o=packed(layer.o),
            gate_up=packed(layer.gate_up),
            down=packed(layer.down),
        )
        for layer in weights.layers
    ]
    return replace(weights, layers=tuple(layers))


def bytes_a_step(weights: DecoderWeights) -> int:
    """Return what a step has to read: every linear as it is stored, the head included, and the norms."""
    return sum(tensor.nbytes for tensor in _read_by_a_step(weights))


def _read_by_a_step(weights: DecoderWeights) -> Iterator[torch.Tensor]:
    for layer in weights.layers:
        for linear in (layer.qkv, layer.o, layer.gate_up, layer.down):
            yield from linear.parameters()
            yield from linear.buffers()
        yield from (layer.before_attention.weight, layer.before_mlp.weight)
    yield weights.final_norm.weight
    yield from weights.head.parameters()
