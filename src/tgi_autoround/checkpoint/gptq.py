"""`quant_method: gptq`, as auto-round's format auto_gptq and GPTQModel write it -> QuantConfig.

Mixed bits stand in `dynamic`: `"+:regex"` or `"regex"` with the fields that differ, `"-:regex"` for layers that stay
in floating point; the first that matches from the start of a layer's name counts, as in vLLM's and GPTQModel's readers.
"""

import re
from collections.abc import Mapping
from typing import Any

from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.checkpoint.patterns import NamePattern, compile_pattern
from tgi_autoround.checkpoint.schemes import (
    Override,
    QuantConfig,
    objects_in,
    override_from,
    scheme_from,
    strings_in,
)
from tgi_autoround.checkpoint.spec import Packing, QuantScheme
from tgi_autoround.errors import CheckpointError, UnsupportedError

PACKING_OF_CHECKPOINT_FORMAT = {None: Packing.GPTQ, "gptq": Packing.GPTQ, "gptq_v2": Packing.GPTQ_RAW}


def parse(raw: Mapping[str, Any]) -> QuantConfig:
    """Return the QuantConfig of a quantization_config in GPTQ's format."""
    form = raw.get("checkpoint_format", raw.get("format"))
    if not isinstance(form, str | None) or form not in PACKING_OF_CHECKPOINT_FORMAT:
        raise UnsupportedError(
            f"quantization_config.checkpoint_format is {show(form)}; gptq and gptq_v2 are read. "
            "Export the model again in one of them"
        )
    if raw.get("pack_dtype", "int32") != "int32":
        raise UnsupportedError(f"quantization_config.pack_dtype is {show(raw['pack_dtype'])}; int32 words are read")
    has_quantized_head = raw.get("lm_head") or False
    if not isinstance(has_quantized_head, bool):
        raise CheckpointError(f"quantization_config.lm_head is {show(has_quantized_head)}; it must be true or false")
    default = scheme_from({"sym": True, **raw}, PACKING_OF_CHECKPOINT_FORMAT[form], "quantization_config")
    overrides = tuple(_override(default, *item) for item in objects_in(raw, "dynamic").items())
    exact = {} if has_quantized_head else {"lm_head": None}
    return QuantConfig(default, exact, (*overrides, *_only(default, strings_in(raw, "modules_in_block_to_quantize"))))


def _override(default: QuantScheme, name: str, fields: Any) -> Override:
    where = f"quantization_config.dynamic[{show(name)}]"
    if name.startswith("-:"):
        return Override(_from_start(name[2:], where), None)
    return Override(_from_start(name.removeprefix("+:"), where), override_from(default, fields, where))


def _only(default: QuantScheme, modules: tuple[str, ...]) -> tuple[Override, ...]:
    """`modules_in_block_to_quantize` names the quantized linears by their path inside a block; all others are not."""
    if not modules:
        return ()
    endings = "|".join(re.escape(module) for module in modules)
    return (
        Override(re.compile(rf"(^|\.)({endings})$"), default),
        Override(re.compile(""), None),
    )


def _from_start(pattern: str, where: str) -> NamePattern:
    return compile_pattern(rf"\A(?:{pattern})", where)
