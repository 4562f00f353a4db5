"""`quant_method: awq`, as auto-round's format auto_awq and AutoAWQ write it -> QuantConfig."""

import re
from collections.abc import Mapping
from typing import Any

from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.checkpoint.schemes import Override, QuantConfig, scheme_from, strings_in
from tgi_autoround.checkpoint.spec import Packing
from tgi_autoround.errors import CheckpointError, UnsupportedError


def parse(raw: Mapping[str, Any]) -> QuantConfig:
    """Return the QuantConfig of a quantization_config in AWQ's format.

    Layers under a module of `modules_to_not_convert` stay in floating point. Entries are whole components of a name:
    "gate" means a router `mlp.gate`, not `mlp.gate_proj`.
    """
    version = raw.get("version", "gemm")
    if version != "gemm":
        raise UnsupportedError(f"quantization_config.version is {show(version)}; AWQ's 'gemm' layout is read")
    zero_point = raw.get("zero_point", True)
    if not isinstance(zero_point, bool):
        raise CheckpointError(f"quantization_config.zero_point is {show(zero_point)}; it must be true or false")
    fields = {
        "bits": raw.get("bits", raw.get("w_bit")),
        "group_size": raw.get("group_size", raw.get("q_group_size")),
        "sym": not zero_point,
    }
    default = scheme_from(fields, Packing.AWQ, "quantization_config")
    skipped = tuple(
        Override(re.compile(rf"(^|\.){re.escape(name)}(\.|$)"), None)
        for name in strings_in(raw, "modules_to_not_convert")
    )
    return QuantConfig(default, {}, skipped)
