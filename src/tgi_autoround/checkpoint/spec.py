"""What is known of one quantized layer before its tensors are read."""

import enum
from dataclasses import dataclass


class Packing(str, enum.Enum):
    """How codes lie in the file's int32 words; `packing.py` draws the layouts."""

    GPTQ = "gptq"
    GPTQ_RAW = "gptq-raw"
    AWQ = "awq"


@dataclass(frozen=True, slots=True)
class QuantScheme:
    """What the config says of a layer. `group_size` -1 is one group over all of in_features."""

    bits: int
    group_size: int
    sym: bool
    packing: Packing


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A scheme together with the shape that the layer's tensors have."""

    name: str
    scheme: QuantScheme
    in_features: int
    out_features: int
    has_bias: bool

    @property
    def group_size(self) -> int:
        """Input features that share a scale: in_features where the scheme says -1."""
        return self.scheme.group_size if self.scheme.group_size > 0 else self.in_features

    @property
    def num_groups(self) -> int:
        """Groups along in_features; the last one is short where the group size does not divide them."""
        return -(-self.in_features // self.group_size)

    def __str__(self) -> str:
        kind = "sym" if self.scheme.sym else "asym"
        return (
            f"W{self.scheme.bits} {kind} g{self.scheme.group_size} {self.scheme.packing.value} "
            f"[{self.in_features} -> {self.out_features}]"
        )
