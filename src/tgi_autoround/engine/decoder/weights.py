"""The weights of a common decoder: norm, attention, norm, gated MLP, each added to what came in.

    model = build_model(checkpoint, ..., fuse=fusions)
    weights = read(model)

`read` takes the loaded model of transformers apart, for a forward that knows no modules; it says why where a model is
something else. `fusions` names the linears of such a model that read the same input, to be loaded as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tgi_autoround.composite import CompositeQLinear, FusedLinear
from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.decoder.families import ACTIVATIONS, FAMILIES, Activation, Family, activation_name, unsuited
from tgi_autoround.linear import QLinear

Linear = QLinear | nn.Linear | CompositeQLinear

FUSED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm: `x / sqrt(mean(x * x) + eps) * weight`; weight [width] is what multiplies, any offset added already."""

    weight: torch.Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary embedding of the first `2 * len(inverse_frequencies)` features of a head, first half with second half.

    inverse_frequencies: float32 [rotated features / 2]; scaling multiplies both cosines and sines
    """

    inverse_frequencies: torch.Tensor
    scaling: float

    def tables(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines, float32 [positions, rotated features / 2]."""
        frequencies = self.inverse_frequencies.float()
        angles = torch.arange(positions, device=frequencies.device).float()[:, None] * frequencies
        return angles.cos() * self.scaling, angles.sin() * self.scaling


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer: `x += after_attention(o(attend(qkv(before_attention(x)))))`, then the same with the MLP.

    qkv: heads * head_dim outputs of queries, then kv_heads * head_dim of keys, then as many of values
    query_norm, key_norm: over head_dim, before the rotary embedding; None where there is none
    gate_up: intermediate outputs of the gate, then as many of up; down reads `activation(gate) * up`
    after_attention, after_mlp: None where the sum takes the output as it is
    """

    before_attention: Norm
    qkv: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    rotary: Rotary
    attention: AttentionOptions
    o: Linear
    after_attention: Norm | None
    before_mlp: Norm
    gate_up: Linear
    down: Linear
    after_mlp: Norm | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """A whole decoder. Layers with the same rotary embedding share one object.

    embedding: [vocabulary, hidden] in the compute dtype, its rows multiplied by embedding_scale
    logits_softcap: logits become `softcap * tanh(logits / softcap)`; None leaves them
    """

    embedding: torch.Tensor
    embedding_scale: float
    layers: tuple[LayerWeights, ...]
    final_norm: Norm
    head: Linear
    heads: int
    kv_heads: int
    head_dim: int
    activation: Activation
    logits_softcap: float | None


def fusions(model: Any) -> list[FusedLinear]:
    """Return which linears of a model without weights yet are to be loaded as one; none if `read` will not take it."""
    if unsuited(model) is not None:
        return []
    prefix = f"{model.base_model_prefix}.layers"
    return [
        FusedLinear(f"{prefix}.{index}.{path}", tuple(f"{prefix}.{index}.{part}" for part in parts))
        for index in range(len(model.base_model.layers))
        for path, parts in FUSED.items()
    ]


def read(model: Any) -> DecoderWeights | str:
    """Return the weights of a loaded transformers model, or the reason why it is no common decoder.

    Linears that were not fused while loading are put side by side here; floating-point ones become one, and `model`
    loses its own.
    """
    reason = unsuited(model)
    if reason is not None:
        return reason
    config, decoder, family = model.config, model.base_model, FAMILIES[model.config.model_type]
    rotaries: dict[str, Rotary] = {}
    return DecoderWeights(
        embedding=decoder.embed_tokens.weight,
        embedding_scale=float(getattr(decoder.embed_tokens, "embed_scale", 1.0)),
        layers=tuple(_read_layer(layer, decoder.rotary_emb, rotaries, family) for layer in decoder.layers),
        final_norm=_norm(decoder.norm, family),
        head=model.lm_head,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=decoder.layers[0].self_attn.head_dim,
        activation=ACTIVATIONS[activation_name(config)],
        logits_softcap=getattr(config, "final_logit_softcapping", None),
    )


def _read_layer(layer: Any, rotary_module: Any, rotaries: dict[str, Rotary], family: Family) -> LayerWeights:
    attention = layer.self_attn
    before_mlp = layer.pre_feedforward_layernorm if family.norms_outputs else layer.post_attention_layernorm
    return LayerWeights(
        before_attention=_norm(layer.input_layernorm, family),
        qkv=_fused(layer, "self_attn.qkv_proj"),
        query_norm=_norm(attention.q_norm, family) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm, family) if hasattr(attention, "k_norm") else None,
        rotary=_rotary(rotary_module, getattr(attention, "layer_type", None), rotaries),
        attention=_attention_options(attention, family),
        o=attention.o_proj,
        after_attention=_norm(layer.post_attention_layernorm, family) if family.norms_outputs else None,
        before_mlp=_norm(before_mlp, family),
        gate_up=_fused(layer, "mlp.gate_up_proj"),
        down=layer.mlp.down_proj,
        after_mlp=_norm(layer.post_feedforward_layernorm, family) if family.norms_outputs else None,
    )


def _attention_options(attention: Any, family: Family) -> AttentionOptions:
    return AttentionOptions(
        scaling=attention.scaling,
        window=getattr(attention.config if family.window_in_config else attention, "sliding_window", None),
        softcap=getattr(attention, "attn_logit_softcapping", None),
    )


def _norm(module: Any, family: Family) -> Norm:
    """Gemma computes its norms in float32, whose offset is not to be rounded to the model's type."""
    eps: float = module.eps if family.norms_from_one else module.variance_epsilon
    return Norm(1.0 + module.weight.float() if family.norms_from_one else module.weight, eps)


def _rotary(module: Any, layer_type: str | None, rotaries: dict[str, Rotary]) -> Rotary:
    """Gemma 3 has one for each type of layers, the others one for all."""
    prefix = f"{layer_type}_" if hasattr(module, f"{layer_type}_inv_freq") else ""
    if prefix not in rotaries:
        rotaries[prefix] = Rotary(
            getattr(module, f"{prefix}inv_freq"), float(getattr(module, f"{prefix}attention_scaling"))
        )
    return rotaries[prefix]


def _fused(layer: nn.Module, path: str) -> Linear:
    """The fused linear where the model has one, else its parts side by side."""
    parent_path, _, attribute = path.rpartition(".")
    parent = layer.get_submodule(parent_path)
    if hasattr(parent, attribute):
        fused: Linear = getattr(parent, attribute)
        return fused
    parts: list[Any] = [layer.get_submodule(part) for part in FUSED[path]]
    fused = _one_linear(parts) if all(isinstance(part, nn.Linear) for part in parts) else CompositeQLinear(parts)
    for part in FUSED[path]:
        delattr(parent, part.rpartition(".")[2])
    setattr(parent, attribute, fused)
    return fused


def _one_linear(parts: Sequence[nn.Linear]) -> nn.Linear:
    """Where some have a bias, those without get one of zeros."""
    weight = torch.cat(tuple(part.weight for part in parts))
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if any(part.bias is not None for part in parts):
        biases = (part.weight.new_zeros(part.out_features) if part.bias is None else part.bias for part in parts)
        linear.bias = nn.Parameter(torch.cat(tuple(biases)), requires_grad=False)
    return linear
