"""Fields of a config -> a validated QuantScheme; shared by the readers of every `quant_method`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.checkpoint.patterns import NamePattern
from tgi_autoround.checkpoint.spec import Packing, QuantScheme
from tgi_autoround.errors import CheckpointError, UnsupportedError

UNQUANTIZED_BITS = 16
SCHEME_FIELDS = ("bits", "group_size", "sym", "data_type", "act_bits")
BITS_OF_PACKING = {
    Packing.GPTQ: (2, 3, 4, 8),
    Packing.GPTQ_RAW: (2, 3, 4, 5, 6, 7, 8),
    Packing.AWQ: (4,),
}
MIXTRAL_MODULE = (".block_sparse_moe.", ".mlp.")
"""auto-round 0.16.1 writes Mixtral's tensors under the first name and its extra_config under the second."""
_BLOCK_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True, slots=True)
class Override:
    """What a config says of the layers that `pattern` finds; None: they stay in floating point."""

    pattern: NamePattern | re.Pattern[str]
    scheme: QuantScheme | None


@dataclass(frozen=True, slots=True)
class QuantConfig:
    """The schemes of a checkpoint, whatever `quant_method` wrote it; None in `exact` means floating point."""

    default: QuantScheme
    exact: Mapping[str, QuantScheme | None]
    overrides: tuple[Override, ...] = ()
    blocks: tuple[str, ...] = ()
    """Prefixes of the modules whose linears are quantized; empty where the config does not name them."""

    def scheme_of(self, layer: str) -> QuantScheme | None:
        """Return the scheme that the config gives a layer: an exact name wins over a pattern, both over the default."""
        spellings = {layer, layer.replace(*MIXTRAL_MODULE)}
        for name in spellings:
            if name in self.exact:
                return self.exact[name]
        for override in self.overrides:
            if any(override.pattern.search(name) for name in spellings):
                return override.scheme
        return self.default

    def covers(self, layer: str) -> bool:
        """Return whether the config's default reaches a layer: one in a numbered block, of the named ones if any."""
        if self.blocks:
            return any(layer.startswith(f"{block}.") for block in self.blocks)
        return _BLOCK_NUMBER.search(layer) is not None


def scheme_from(fields: Mapping[str, Any], packing: Packing, where: str) -> QuantScheme:
    """Return the scheme of the SCHEME_FIELDS; `where` names the place in error messages."""
    bits, group_size, sym = fields.get("bits"), fields.get("group_size"), fields.get("sym")
    served = BITS_OF_PACKING[packing]
    if not _is_int(bits) or bits not in served:
        raise UnsupportedError(
            f"{where}.bits is {show(bits)}; packing {packing.value} is read with {', '.join(map(str, served))} bits"
        )
    act_bits = fields.get("act_bits")
    if act_bits is not None and not (_is_int(act_bits) and act_bits >= UNQUANTIZED_BITS):
        raise UnsupportedError(
            f"{where}.act_bits is {show(act_bits)}; only weight-only checkpoints are served: quantize with act_bits 16"
        )
    if fields.get("data_type", "int") != "int":
        raise UnsupportedError(f"{where}.data_type is {show(fields['data_type'])}; only 'int' weights are served")
    if not _is_int(group_size) or not (0 < group_size < 2**31 or group_size == -1):
        raise CheckpointError(f"{where}.group_size is {show(group_size)}; it must be a positive number or -1")
    if not isinstance(sym, bool):
        raise CheckpointError(f"{where}.sym is {show(sym)}; it must be true or false")
    return QuantScheme(bits, group_size, sym, packing)


def override_from(default: QuantScheme, fields: Any, where: str) -> QuantScheme | None:
    """Return the default with an override's fields laid over it, or None where its bits say floating point."""
    if not isinstance(fields, Mapping):
        raise CheckpointError(f"{where} is {show(fields)}; it must be an object")
    bits = fields.get("bits", default.bits)
    if _is_int(bits) and bits >= UNQUANTIZED_BITS:
        return None
    given = {name: fields[name] for name in SCHEME_FIELDS if fields.get(name) is not None}
    inherited = {"bits": default.bits, "group_size": default.group_size, "sym": default.sym}
    return scheme_from({**inherited, **given}, default.packing, where)


def objects_in(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object under `name`, {} where it is absent or null."""
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"quantization_config.{name} is {show(value)}; it must be an object")
    return value


def strings_in(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the strings of a list, of a list of lists, or of a comma-joined string under `name`."""
    value = raw.get(name)
    if value is None:
        return ()
    items = value.split(",") if isinstance(value, str) else value
    groups = [item if isinstance(item, list) else [item] for item in items] if isinstance(items, list) else [[items]]
    flat = [part for group in groups for part in group]
    if not all(isinstance(part, str) for part in flat):
        raise CheckpointError(f"quantization_config.{name} is {show(value)}; it must hold names")
    return tuple(part.strip() for part in flat)


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
