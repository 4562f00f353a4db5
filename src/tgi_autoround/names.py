"""Names in checkpoint files -> names in transformers' model code, which differ where transformers renamed modules."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROJECTION_OF = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
OLDER_NAME_OF = {name: older for older, name in PROJECTION_OF.items()}
MIXTRAL_PROJECTION = re.compile(r"(\.experts\.\d+\.)(w[123])\.")
OLDER_PROJECTION = re.compile(r"(\.block_sparse_moe\.experts\.\d+\.)(gate_proj|up_proj|down_proj)\.")
"""auto-round 0.16.1 writes Mixtral's older names of modules with the newer ones of their projections."""


class TensorNames:
    """The renaming that transformers itself applies when it loads a checkpoint into `model`."""

    def __init__(self, model: "PreTrainedModel") -> None:
        self._known = set(model.state_dict())
        self._prefix = model.base_model_prefix
        self._renamings = _renamings(model)

    def in_model(self, tensor: str) -> str:
        """Return the model's name of a tensor of the file."""
        for renaming in self._renamings:
            tensor, _ = renaming.rename_source_key(tensor)
        older = OLDER_PROJECTION.sub(lambda match: f"{match[1]}{OLDER_NAME_OF[match[2]]}.", tensor)
        tensor = MIXTRAL_PROJECTION.sub(lambda match: f"{match[1]}{PROJECTION_OF[match[2]]}.", tensor)
        for candidate in (older, tensor, f"{self._prefix}.{tensor}", tensor.removeprefix(f"{self._prefix}.")):
            if candidate in self._known:
                return candidate
        return tensor


def _renamings(model: "PreTrainedModel") -> list[Any]:
    """transformers 4 has none: there files and model code agree."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming
    except ImportError:
        return []
    return [transform for transform in get_model_conversion_mapping(model) if isinstance(transform, WeightRenaming)]
