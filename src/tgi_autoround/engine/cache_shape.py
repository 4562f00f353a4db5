"""What a model's layers store for a token, read from its config."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from tgi_autoround.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Each of `layers` stores `kv_heads` keys of `key_width` features, and as many values of `value_width`."""

    layers: int
    kv_heads: int
    key_width: int
    value_width: int

    @property
    def features_per_token(self) -> int:
        """All that is stored for one token."""
        return self.layers * self.kv_heads * (self.key_width + self.value_width)


def cache_shape(config: PreTrainedConfig) -> CacheShape:
    """Return the shape for a model. Raises UnsupportedError where its layers differ or have no heads.

    What a model does store is compared with it when it attends.
    """
    layers, heads = _of_every_layer(config, "num_hidden_layers"), _of_every_layer(config, "num_attention_heads")
    compressed = _of_every_layer(config, "qk_nope_head_dim", None)
    if compressed:
        width = compressed + _of_every_layer(config, "qk_rope_head_dim")
        return CacheShape(layers, heads, width, _of_every_layer(config, "v_head_dim"))
    width = _of_every_layer(config, "head_dim", None) or _of_every_layer(config, "hidden_size") // heads
    return CacheShape(layers, _kv_heads(config) or heads, width, width)


def _kv_heads(config: PreTrainedConfig) -> int | None:
    text = config.get_text_config()
    if text.model_type == "falcon":
        return int(text.num_kv_heads) if text.new_decoder_architecture or not text.multi_query else 1
    shared: int | None = _of_every_layer(config, "num_key_value_heads", None)
    return shared


def _of_every_layer(config: PreTrainedConfig, name: str, *default: Any) -> Any:
    """transformers raises a RuntimeError where layers differ."""
    text = config.get_text_config()
    try:
        return getattr(text, name, *default)
    except (AttributeError, RuntimeError) as error:
        raise UnsupportedError(
            f"{type(text).__name__} has no {name} that holds for every layer; such models are not served yet"
        ) from error
