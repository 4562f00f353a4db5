"""config.json in transformers 5's terms -> with what transformers 4.51 and TGI 3.3.7 read beside them.

transformers 4.51 knows no `rope_parameters` and takes its own defaults in silence, so the answers would be wrong
without an error. What the newer release reads is left, except where the older one would trip over it. All of this may
go when TGI's images hold transformers 5.
"""

from collections.abc import Mapping
from typing import Any

from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.errors import CheckpointError, UnsupportedError

# transformers 4.51.0, modeling_rope_utils.py, ROPE_INIT_FUNCTIONS; TGI 3.3.7, layers/rotary.py, has the same.
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
VISION_ROPE_TYPE = "axial"
"""The only rotary embedding that vision towers have in 4.51, where it has no name."""

LAYERED_ROPE_MODELS = ("gemma3", "gemma3_text")
LAYER_TYPES = {"full_attention", "sliding_attention"}
FLAT_MODELS = ("qwen2_vl", "qwen2_5_vl")
"""Their text model's fields stand in `text_config` since transformers 4.52, and at the top before."""

OTHER_NAMES = {"gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}}
RENAMED_FIELDS = {
    "qwen3_moe": {"num_local_experts": "num_experts"},
    "gemma3_text": {"_sliding_window_pattern": "sliding_window_pattern"},
}
"""model_type -> field of transformers 5 -> the one of 4.51, which takes a default in silence where it is missing."""

NOT_SCALING = ("rope_theta", "partial_rotary_factor")


def older_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json's content with `torch_dtype`, `rope_theta`, `rope_scaling` beside transformers 5's names.

    Raises UnsupportedError for rotary embeddings that transformers 4.51 cannot express, CheckpointError where older
    and newer names are both there and disagree.
    """
    older = {name: _older_section(name, value) for name, value in config.items()}
    older |= _older_fields(config)
    if config.get("dtype") is not None:
        older.setdefault("torch_dtype", config["dtype"])
    _add(older, _older_rope(config), "config.json")
    if config.get("model_type") in FLAT_MODELS and isinstance(older.get("text_config"), dict):
        older = {**older.pop("text_config"), **older}
    return older


def _older_section(name: str, section: Any) -> Any:
    if not isinstance(section, dict) or "rope_parameters" not in section:
        return section
    older = {**section, **_older_fields(section)}
    _add(older, _older_rope(section), f"config.json: {name}")
    return older


def _older_fields(section: Mapping[str, Any]) -> dict[str, Any]:
    names = RENAMED_FIELDS.get(str(section.get("model_type")), {})
    return {older: section[newer] for newer, older in names.items() if newer in section}


def _add(older: dict[str, Any], names: Mapping[str, Any], where: str) -> None:
    for name, value in names.items():
        present = older.get(name)
        if present is not None and present != value:
            raise CheckpointError(
                f"{where}: {name} is {show(present)}, but rope_parameters says {show(value)}; one of them is wrong, "
                "remove it"
            )
        older[name] = value


def _older_rope(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers 4.51's names and values of what `rope_parameters` says, empty without it."""
    rope = section.get("rope_parameters")
    if not rope:
        return {}
    if not isinstance(rope, Mapping):
        raise CheckpointError(f"config.json: rope_parameters is {show(rope)}; it must be an object")
    model_type = section.get("model_type")
    if not any(isinstance(value, Mapping) for value in rope.values()):
        return _older_names(rope, model_type)
    sliding = rope.get("sliding_attention") or {}
    if model_type not in LAYERED_ROPE_MODELS or rope.keys() != LAYER_TYPES or _type_of(sliding) != "default":
        raise UnsupportedError(
            f"config.json: rope_parameters has one rotary embedding for each of {', '.join(map(str, rope))} in a model "
            f"of type {show(model_type)}; TGI 3.3.7 can do that for gemma3 alone, with an unscaled one for its "
            "sliding_attention. Serve the model with `tgi-autoround serve`"
        )
    local = {"rope_local_base_freq": sliding["rope_theta"]} if "rope_theta" in sliding else {}
    return _older_names(rope["full_attention"], model_type) | local


def _older_names(rope: Mapping[str, Any], model_type: Any) -> dict[str, Any]:
    other_names = OTHER_NAMES.get(model_type, {})
    older = {}
    for name in NOT_SCALING:
        if rope.get(name) is not None:
            older[name] = older[other_names.get(name, name)] = rope[name]
    scaling = _older_scaling(rope, model_type)
    if scaling is not None:
        older["rope_scaling"] = scaling
    if _type_of(rope) == "longrope" and "original_max_position_embeddings" in rope:
        # TGI 3.3.7 reads it from the top (layers/rotary.py, PositionRotaryEmbedding.static).
        older["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    return older


def _older_scaling(rope: Mapping[str, Any], model_type: Any) -> dict[str, Any] | None:
    rope_type = _type_of(rope)
    if rope.get("mrope_section"):
        return {"type": "mrope", "mrope_section": rope["mrope_section"]}
    if rope_type in (ROPE_TYPES[0], VISION_ROPE_TYPE):
        return None
    if rope_type not in ROPE_TYPES:
        raise UnsupportedError(
            f"config.json: rope_parameters.rope_type is {show(rope_type)}; transformers 4.51, which TGI 3.3.7 holds, "
            f"knows {', '.join(ROPE_TYPES)}. Serve the model with `tgi-autoround serve`"
        )
    if model_type == "phi3":
        # transformers 4.51, configuration_phi3.py, _rope_scaling_validation: these three fields and no other.
        return {"type": rope_type, **{name: rope.get(name) for name in ("short_factor", "long_factor")}}
    return {name: value for name, value in rope.items() if name not in NOT_SCALING}


def _type_of(rope: Mapping[str, Any]) -> Any:
    return rope.get("rope_type", rope.get("type", ROPE_TYPES[0]))
