"""config.json as the stock launcher reads it (launcher/src/main.rs, 202-403, v3.3.7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KNOWN_METHODS = (
    "awq",
    "compressed-tensors",
    "eetq",
    "exl2",
    "gptq",
    "marlin",
    "bitsandbytes",
    "bitsandbytes-nf4",
    "bitsandbytes-fp4",
    "fp8",
)
"""Any other `quant_method` makes the launcher drop the whole config in silence (main.rs 125, 229, 2081)."""

SIZES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "n_embd",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_hidden_layers",
    "head_dim",
    "num_experts_per_tok",
    "n_shared_experts",
    "num_local_experts",
    "vocab_size",
)
TYPES = {"model_type": str, "is_encoder_decoder": bool, "text_config": dict, "vision_config": dict}
DEFAULTS = {"is_encoder_decoder": False, "num_experts_per_tok": 1, "n_shared_experts": 0}
HEAD_DIM_OF_TYPE = {"gemma3": 256}


@dataclass(frozen=True)
class LauncherConfig:
    """What of config.json the launcher's defaults depend on."""

    model_type: str | None
    max_positions: int | None
    head_dim: int | None
    hidden_size: int | None
    intermediate_size: int | None
    heads: int | None
    kv_heads: int | None
    layers: int | None
    experts_per_token: int
    shared_experts: int
    has_vision: bool
    is_encoder_decoder: bool

    def flop_per_token(self) -> int | None:
        """Return the launcher's estimate (main.rs 281-308), None where it makes none."""
        sizes = (self.heads, self.kv_heads, self.head_dim, self.hidden_size, self.intermediate_size, self.layers)
        if self.has_vision or None in sizes:
            return None
        heads, kv_heads, head_dim, hidden, intermediate, layers = (size or 0 for size in sizes)
        attention = 2 * head_dim * hidden * (3 * heads + 2 * kv_heads)
        experts = self.experts_per_token + self.shared_experts
        return layers * (attention + 2 * 3 * hidden * intermediate * experts)


def is_lost_on_launcher(config: Mapping[str, Any]) -> bool:
    """Whether the launcher drops this config because it does not know its `quant_method`."""
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    return method is not None and method not in KNOWN_METHODS


def parse_launcher_config(config: Mapping[str, Any]) -> LauncherConfig | None:
    """Return what the launcher would make of the config but for `quant_method`, None where it drops it anyway."""
    fields = DEFAULTS | {name: value for name, value in config.items() if value is not None}
    if not _has_the_launchers_types(fields):
        return None
    return LauncherConfig(
        model_type=fields.get("model_type"),
        max_positions=_first(fields, "max_position_embeddings", "max_seq_len", "n_positions"),
        head_dim=_head_dim(fields),
        hidden_size=_first(fields, "hidden_size", "n_embd"),
        intermediate_size=fields.get("intermediate_size"),
        heads=fields.get("num_attention_heads"),
        kv_heads=_first(fields, "num_key_value_heads", "num_attention_heads"),
        layers=fields.get("num_hidden_layers"),
        experts_per_token=fields["num_experts_per_tok"],
        shared_experts=fields["n_shared_experts"],
        has_vision="vision_config" in fields,
        is_encoder_decoder=fields["is_encoder_decoder"],
    )


def _has_the_launchers_types(fields: Mapping[str, Any]) -> bool:
    for name, kind in TYPES.items():
        if name in fields and not isinstance(fields[name], kind):
            return False
    sizes = [fields[name] for name in SIZES if name in fields]
    return all(type(size) is int and size >= 0 for size in (*sizes, _head_dim_of_text(fields) or 0))


def _head_dim(fields: Mapping[str, Any]) -> int | None:
    """main.rs 262-279 and 362-371: its own, that of all heads together, its text model's, or gemma3's."""
    if "head_dim" in fields:
        return int(fields["head_dim"])
    hidden_size, heads = _first(fields, "hidden_size", "n_embd"), fields.get("num_attention_heads")
    if hidden_size is not None and heads and hidden_size % heads == 0:
        return int(hidden_size // heads)
    if "text_config" not in fields:
        return None
    return _head_dim_of_text(fields) or HEAD_DIM_OF_TYPE.get(fields.get("model_type", ""))


def _head_dim_of_text(fields: Mapping[str, Any]) -> Any:
    return fields.get("text_config", {}).get("head_dim")


def _first(fields: Mapping[str, Any], *names: str) -> Any:
    return next((fields[name] for name in names if name in fields), None)
