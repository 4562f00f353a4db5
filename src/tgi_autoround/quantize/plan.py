"""What the job will write: the scheme of every layer and the packing that holds them all."""

from collections.abc import Mapping
from dataclasses import dataclass

from tgi_autoround.checkpoint.config import parse_quant_config
from tgi_autoround.errors import QuantizeError, UnsupportedError
from tgi_autoround.quantize.config import UNQUANTIZED_BITS, LayerScheme, QuantizeConfig
from tgi_autoround.quantize.overrides import resolve_overrides
from tgi_autoround.quantize.source import SourceModel

# auto-round packs 32 codes at a time and leaves a layer in floating point where either side does not divide.
PACKED_FEATURES = 32


@dataclass(frozen=True)
class Plan:
    """The scheme of each linear layer; 16 bits mean: kept in floating point, as the head is unless named."""

    default: LayerScheme
    block_schemes: Mapping[str, LayerScheme]
    head_schemes: Mapping[str, LayerScheme]
    packing_format: str

    @property
    def quantized_layers(self) -> dict[str, LayerScheme]:
        schemes = {**self.block_schemes, **self.head_schemes}
        return {name: scheme for name, scheme in schemes.items() if scheme.is_quantized}

    @property
    def quantizes_head(self) -> bool:
        return any(scheme.is_quantized for scheme in self.head_schemes.values())

    @property
    def overrides(self) -> dict[str, LayerScheme]:
        """Every layer that auto-round would not treat so by itself."""
        blocks = {name: scheme for name, scheme in self.block_schemes.items() if scheme != self.default}
        return blocks | {name: scheme for name, scheme in self.head_schemes.items() if scheme.is_quantized}


def make_plan(config: QuantizeConfig, source: SourceModel) -> Plan:
    """Resolve every layer's scheme. Raises ConfigError or QuantizeError for what cannot be served exactly."""
    shapes = {**source.block_linears, **source.head}
    unquantized = LayerScheme(bits=UNQUANTIZED_BITS)
    schemes = {
        **dict.fromkeys(source.block_linears, config.scheme),
        **dict.fromkeys(source.head, unquantized),
        **resolve_overrides(shapes, config.scheme, config.layer_config),
        **{name: unquantized for name, shape in shapes.items() if any(side % PACKED_FEATURES for side in shape)},
    }
    plan = Plan(
        default=config.scheme,
        block_schemes={name: schemes[name] for name in source.block_linears},
        head_schemes={name: schemes[name] for name in source.head},
        packing_format=_packing_format(config, schemes),
    )
    _check_packing(plan, shapes)
    return plan


def _packing_format(config: QuantizeConfig, schemes: Mapping[str, LayerScheme]) -> str:
    """Return the packing that `--format auto_round` resolves to.

    auto_round/export/formats/backends/autoround.py, AutoRoundFormat.__init__ (0.16.1).
    """
    if config.format != "auto_round":
        return config.format
    if config.scheme.sym:
        return "auto_round:auto_gptq"
    all_bits = {config.scheme.bits, *(scheme.bits for scheme in schemes.values() if scheme.is_quantized)}
    return "auto_round:auto_awq" if all_bits == {4} else "auto_round"


def _check_packing(plan: Plan, shapes: Mapping[str, tuple[int, int]]) -> None:
    if not plan.quantized_layers:
        raise QuantizeError(
            f"no layer would be quantized: none has both sides divisible by {PACKED_FEATURES}, or --layer-config "
            "keeps them all in floating point"
        )
    for name, scheme in plan.quantized_layers.items():
        _check_layer(name, scheme, shapes[name][1], plan.packing_format)
    for scheme in set(plan.quantized_layers.values()):
        _check_served(scheme, plan.packing_format)


def _check_served(scheme: LayerScheme, packing_format: str) -> None:
    """Ask the checkpoint reader: a file that it refuses could be neither verified nor served."""
    fields = {"bits": scheme.bits, "group_size": scheme.group_size, "sym": scheme.sym, "data_type": "int"}
    try:
        parse_quant_config({"quant_method": "auto-round", "packing_format": packing_format, **fields})
    except UnsupportedError as error:
        raise QuantizeError(f"{scheme} would be written in a packing that is not served: {error}") from error


def _check_layer(name: str, scheme: LayerScheme, in_features: int, packing_format: str) -> None:
    if packing_format == "auto_round:auto_gptq" and not scheme.sym:
        raise QuantizeError(
            f"layer {name}: the packing {packing_format} cannot hold a zero point of 0; "
            "use --sym, or --format auto_round with --asym"
        )
    if packing_format != "auto_round:auto_awq":
        return
    if scheme.bits != 4:
        raise QuantizeError(f"layer {name}: the packing {packing_format} holds 4-bit codes, not {scheme.bits} bits")
    if scheme.group_size > 0 and in_features % scheme.group_size:
        fitting = [str(size) for size in (128, 64, 32) if in_features % size == 0]
        raise QuantizeError(
            f"layer {name}: {in_features} input features are no multiple of the group size {scheme.group_size}, which "
            f"the AWQ packing of asymmetric weights needs; use --sym, or --group-size {' or '.join(fitting)}"
        )
