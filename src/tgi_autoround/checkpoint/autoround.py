"""`quant_method: auto-round` and its older spellings -> QuantConfig.

auto-round 0.2 to 0.4.7 wrote `quant_method: intel/auto-round` and the format, with a kernel's name behind it, in
`backend`; 0.5.1 and later write `packing_format`.
"""

import re
from collections.abc import Mapping
from typing import Any

from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.checkpoint.patterns import compile_pattern
from tgi_autoround.checkpoint.schemes import (
    Override,
    QuantConfig,
    objects_in,
    override_from,
    scheme_from,
    strings_in,
)
from tgi_autoround.checkpoint.spec import Packing
from tgi_autoround.errors import UnsupportedError

PACKING_OF_FORMAT = {
    "auto_round": Packing.GPTQ_RAW,
    "auto_round:gptqmodel": Packing.GPTQ_RAW,
    "auto_round:auto_gptq": Packing.GPTQ,
    "auto_round:gptq": Packing.GPTQ,
    "auto_round:auto_awq": Packing.AWQ,
    "auto_round:awq": Packing.AWQ,
}
HISTORIC_KERNELS = ("exllamav2", "exllamav1", "exllama", "triton", "tritonv2", "cuda", "marlin", "qigen", "gemm")
_REGEX_CHARACTERS = re.compile(r"[*+?^$()\[\]{}|\\]")


def parse(raw: Mapping[str, Any]) -> QuantConfig:
    """Return the QuantConfig of a quantization_config that auto-round wrote."""
    default = scheme_from(raw, _packing(raw), "quantization_config")
    exact, overrides = {}, []
    for name, fields in objects_in(raw, "extra_config").items():
        where = f"quantization_config.extra_config[{show(name)}]"
        scheme = override_from(default, fields, where)
        if _REGEX_CHARACTERS.search(name):
            overrides.append(Override(compile_pattern(name, where), scheme))
        else:
            exact[name] = scheme
    blocks = strings_in(raw, "block_name_to_quantize") or strings_in(raw, "to_quant_block_names")
    return QuantConfig(default, exact, tuple(overrides), blocks)


def _packing(raw: Mapping[str, Any]) -> Packing:
    named = raw.get("packing_format") or raw.get("backend")
    packing = _packing_of(named) if isinstance(named, str) else None
    if packing is None:
        raise UnsupportedError(
            f"quantization_config.packing_format is {show(named)}; these are read: {', '.join(PACKING_OF_FORMAT)}. "
            "Quantize again with format auto_round"
        )
    return packing


def _packing_of(spelling: str) -> Packing | None:
    """Historic spellings (`gptq:exllamav2`, `auto_round:gptq:exllamav2`, `auto_round:exllamav2`) also name a kernel."""
    parts = spelling.replace("autoround", "auto_round").replace("auto-round", "auto_round").split(":")
    form = [part for part in parts if part not in HISTORIC_KERNELS]
    if form in (["gptq"], ["auto_gptq"]):
        return Packing.GPTQ
    return PACKING_OF_FORMAT.get(":".join(form))
