"""What the launcher shim hands to the shards, and how AutoRound is named by users and by checkpoints.

Standard library only: the shims run before every server and must not wait for torch.
"""

from collections.abc import Mapping
from typing import Any

FORCE_VARIABLE = "TGI_AUTOROUND"
"""Set to 1 where the user asked for AutoRound: the choice wins over the checkpoint's own `quant_method`."""

QUANTIZE_CHOICE = "auto-round"
"""The name under which the patched `text-generation-server serve` knows it."""

_SPELLINGS = ("autoround", "intel/autoround")


def names_auto_round(name: str) -> bool:
    """Whether a value of `--quantize`, `--method` or `quant_method` means AutoRound, in any of its spellings."""
    return name.lower().replace("-", "").replace("_", "") in _SPELLINGS


def is_auto_round_config(config: Mapping[str, Any]) -> bool:
    """Whether config.json's content says, by method or packing, that AutoRound wrote the checkpoint."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return False
    method, packing = quantization.get("quant_method"), quantization.get("packing_format")
    if isinstance(method, str) and names_auto_round(method):
        return True
    return isinstance(packing, str) and packing.startswith("auto_round")
