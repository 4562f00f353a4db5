"""`config.json["quantization_config"]` -> QuantConfig, by its `quant_method`."""

from collections.abc import Mapping
from typing import Any

from tgi_autoround.checkpoint import autoround, awq, gptq
from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.checkpoint.schemes import QuantConfig
from tgi_autoround.errors import CheckpointError, UnsupportedError

READER_OF_METHOD = {
    "auto-round": autoround.parse,
    "auto_round": autoround.parse,
    "intel/auto-round": autoround.parse,
    "gptq": gptq.parse,
    "awq": awq.parse,
}


def parse_quant_config(raw: Any) -> QuantConfig:
    """Return the QuantConfig.

    Raises CheckpointError for a field that is missing or malformed, UnsupportedError for a method, packing, width
    or data type that cannot be served exactly.
    """
    if not isinstance(raw, Mapping):
        raise CheckpointError(f"quantization_config is {show(raw)}; it must be an object")
    method = raw.get("quant_method")
    if not isinstance(method, str) or method not in READER_OF_METHOD:
        raise UnsupportedError(
            f"quantization_config.quant_method is {show(method)}; these are read: {', '.join(READER_OF_METHOD)}. "
            "Quantize the model with `tgi-autoround quantize`"
        )
    return READER_OF_METHOD[method](raw)
