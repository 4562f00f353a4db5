"""Make a model directory written by transformers 5 readable by TGI 3.3.7, which holds transformers 4.51.

Each repair adds what the older release reads and leaves what the newer one reads; all of them may go when TGI's images
hold transformers 5.
"""

from pathlib import Path
from typing import Any

from tgi_autoround.quantize.jsonfile import read_json, write_json

# Defaults of transformers 4.51's configuration classes; it reads no rope_parameters, and takes 10000 in silence.
DEFAULT_ROPE_THETA = 10000.0
TOKENIZER_CLASS_OF_5 = "TokenizersBackend"
TOKENIZER_CLASS_OF_4 = "PreTrainedTokenizerFast"


def repair_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return config.json's content with `torch_dtype`, `rope_theta`, `rope_scaling` beside transformers 5's names."""
    repaired = dict(config)
    if "dtype" in config:
        repaired.setdefault("torch_dtype", config["dtype"])
    rope = config.get("rope_parameters") or {}
    if "full_attention" in rope:
        sliding = rope.get("sliding_attention", {})
        if "rope_theta" in sliding:
            repaired.setdefault("rope_local_base_freq", sliding["rope_theta"])
        rope = rope["full_attention"]
    if rope:
        repaired.setdefault("rope_theta", rope.get("rope_theta", DEFAULT_ROPE_THETA))
        if "partial_rotary_factor" in rope:
            repaired.setdefault("partial_rotary_factor", rope["partial_rotary_factor"])
        if rope.get("rope_type", "default") != "default":
            own_keys = ("rope_theta", "partial_rotary_factor")
            repaired.setdefault("rope_scaling", {key: rope[key] for key in rope if key not in own_keys})
    return repaired


def repair_tokenizer_config(config: dict[str, Any], chat_template: str | None) -> dict[str, Any]:
    """Return tokenizer_config.json's content with a class that 4.51 has, and the chat template inside.

    TGI's router reads the template from tokenizer_config.json or chat_template.json, never from chat_template.jinja
    (router/src/server.rs, v3.3.7).
    """
    repaired = {key: value for key, value in config.items() if key != "backend"}
    if config.get("tokenizer_class") == TOKENIZER_CLASS_OF_5:
        repaired["tokenizer_class"] = TOKENIZER_CLASS_OF_4
    if isinstance(config.get("extra_special_tokens"), list):
        # A list of tokens in transformers 5, names -> tokens in 4.51, where the list had this other name.
        repaired["additional_special_tokens"] = repaired.pop("extra_special_tokens")
    if chat_template is not None:
        repaired.setdefault("chat_template", chat_template)
    return repaired


def repair_directory(directory: Path) -> None:
    """Repair the files of a model directory in place."""
    path = directory / "config.json"
    write_json(path, repair_config(read_json(path)))
    path = directory / "tokenizer_config.json"
    template = directory / "chat_template.jinja"
    if path.is_file():
        chat_template = template.read_text(encoding="utf-8") if template.is_file() else None
        write_json(path, repair_tokenizer_config(read_json(path), chat_template))
