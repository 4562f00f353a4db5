"""`quantization_config` of an AutoRound checkpoint -> a frozen QuantConfig that answers for each layer name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tgi_autoround.checkpoint.spec import Packing, QuantScheme
from tgi_autoround.errors import CheckpointError, UnsupportedError

BITS = (2, 3, 4, 8)
UNQUANTIZED_BITS = 16
QUANT_METHODS = ("auto-round", "auto_round", "intel/auto-round")
PACKING_OF_FORMAT = {
    "auto_round:auto_gptq": Packing.GPTQ,
    "auto_round:gptq": Packing.GPTQ,
    "auto_round:auto_awq": Packing.AWQ,
    "auto_round:awq": Packing.AWQ,
}
_REGEX_CHARACTERS = re.compile(r"[*+?^$()\[\]{}|\\]")


@dataclass(frozen=True, slots=True)
class QuantConfig:
    """The schemes of a checkpoint; None in an override means: kept in floating point."""

    default: QuantScheme
    exact: Mapping[str, QuantScheme | None]
    patterns: tuple[tuple[re.Pattern[str], QuantScheme | None], ...]
    blocks: tuple[str, ...] = ()
    """Prefixes of the modules whose linears are quantized; empty where the config does not name them."""

    def covers(self, layer: str) -> bool:
        """Return whether the config's default reaches a layer: one in a numbered block, of the named ones if any."""
        if self.blocks:
            return any(layer.startswith(f"{block}.") for block in self.blocks)
        return re.search(r"\.\d+\.", layer) is not None

    def scheme_of(self, layer: str) -> QuantScheme | None:
        """Return the scheme that the config gives a layer: an exact name wins over a regex, both over the default."""
        if layer in self.exact:
            return self.exact[layer]
        for pattern, scheme in self.patterns:
            if pattern.search(layer):
                return scheme
        return self.default


def parse_quant_config(raw: Mapping[str, Any]) -> QuantConfig:
    """Return the QuantConfig of `config.json["quantization_config"]`.

    Raises CheckpointError for a field that is missing or malformed, UnsupportedError for a method, packing, width
    or data type that cannot be served exactly.
    """
    method = raw.get("quant_method")
    if method not in QUANT_METHODS:
        raise UnsupportedError(
            f"quantization_config.quant_method is {method!r}; this release reads {', '.join(QUANT_METHODS)}. "
            "Quantize the model with `tgi-autoround quantize`"
        )
    if int(raw.get("act_bits") or UNQUANTIZED_BITS) < UNQUANTIZED_BITS:
        raise UnsupportedError(
            f"quantization_config.act_bits is {raw['act_bits']}; only weight-only checkpoints are served: "
            "quantize with act_bits 16"
        )
    default = _scheme(raw, _packing(raw), "quantization_config")
    exact: dict[str, QuantScheme | None] = {}
    patterns: list[tuple[re.Pattern[str], QuantScheme | None]] = []
    for name, override in (raw.get("extra_config") or {}).items():
        scheme = _override(default, name, override)
        if _REGEX_CHARACTERS.search(name):
            patterns.append((_compile(name), scheme))
        else:
            exact[name] = scheme
    return QuantConfig(default, exact, tuple(patterns), _blocks(raw))


def _blocks(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """`block_name_to_quantize` is a comma-joined string, in older files a list."""
    names = raw.get("block_name_to_quantize") or []
    return tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names))


def _packing(raw: Mapping[str, Any]) -> Packing:
    name = raw.get("packing_format") or raw.get("backend")
    packing = PACKING_OF_FORMAT.get(str(name))
    if packing is None:
        raise UnsupportedError(
            f"quantization_config.packing_format is {name!r}; this release reads {', '.join(PACKING_OF_FORMAT)}. "
            "Quantize again with format auto_round (sym, or 4-bit asym)"
        )
    return packing


def _scheme(raw: Mapping[str, Any], packing: Packing, where: str) -> QuantScheme:
    bits, group_size, sym = raw.get("bits"), raw.get("group_size"), raw.get("sym")
    if bits not in BITS:
        raise UnsupportedError(f"{where}.bits is {bits!r}; weights of {', '.join(map(str, BITS))} bits are served")
    if raw.get("data_type", "int") != "int":
        raise UnsupportedError(f"{where}.data_type is {raw['data_type']!r}; only 'int' weights are served")
    if not isinstance(group_size, int) or isinstance(group_size, bool) or not (group_size > 0 or group_size == -1):
        raise CheckpointError(f"{where}.group_size is {group_size!r}; it must be a positive number or -1")
    if not isinstance(sym, bool):
        raise CheckpointError(f"{where}.sym is {sym!r}; it must be true or false")
    if packing is Packing.AWQ and bits != 4:
        raise CheckpointError(f"{where}: the AWQ packing holds 4-bit codes, but bits is {bits}")
    return QuantScheme(bits, group_size, sym, packing)


def _override(default: QuantScheme, name: str, override: Any) -> QuantScheme | None:
    where = f"quantization_config.extra_config[{name!r}]"
    if not isinstance(override, Mapping):
        raise CheckpointError(f"{where} is {override!r}; it must be an object")
    bits = override.get("bits", default.bits)
    if isinstance(bits, int) and bits >= UNQUANTIZED_BITS:
        return None
    given = {field: override[field] for field in ("bits", "group_size", "sym", "data_type") if field in override}
    inherited = {"bits": default.bits, "group_size": default.group_size, "sym": default.sym}
    return _scheme({**inherited, **given}, default.packing, where)


def _compile(name: str) -> re.Pattern[str]:
    try:
        return re.compile(name)
    except re.error as error:
        raise CheckpointError(
            f"quantization_config.extra_config[{name!r}] is neither a layer name nor a regular expression: {error}"
        ) from error
