"""Everything a quantization job is told, in one frozen object: options -> QuantizeConfig."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgi_autoround.errors import ConfigError

BITS = (2, 3, 4, 8)
UNQUANTIZED_BITS = 16
DEVICES = ("auto", "cpu", "cuda", "hpu")
FORMATS = ("auto_round", "auto_round:auto_gptq", "auto_round:auto_awq")
DEFAULT_DATASET = "NeelNanda/pile-10k"
DEFAULT_SEQLEN_TOKENS = 2048


@dataclass(frozen=True)
class LayerScheme:
    """Width and grouping of one layer's weights; 16 bits mean: kept in floating point."""

    bits: int = 4
    group_size: int = 128
    sym: bool = True

    @property
    def is_quantized(self) -> bool:
        return self.bits < UNQUANTIZED_BITS


@dataclass(frozen=True)
class TuningConfig:
    """AutoRound's tuning knobs. `lr` None is 1/iters, `minmax_lr` None is `lr`; 0 `iters` is round-to-nearest."""

    iters: int = 200
    lr: float | None = None
    minmax_lr: float | None = None
    nsamples: int = 128
    seqlen_tokens: int | None = None
    batch_size: int = 8
    scale_dtype: str = "fp16"
    amp: bool = True
    nblocks: int = 1
    gradient_accumulate_steps: int = 1
    low_gpu_mem_usage: bool = False
    enable_quanted_input: bool = True
    enable_minmax_tuning: bool = True
    seed: int = 42

    @property
    def needs_calibration(self) -> bool:
        return self.iters > 0


@dataclass(frozen=True)
class QuantizeConfig:
    """One job: which model, how its weights are to be quantized, and where the result goes."""

    model: str
    output_dir: Path
    scheme: LayerScheme = LayerScheme()
    layer_config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuning: TuningConfig = TuningConfig()
    dataset: str | None = None
    device: str = "auto"
    format: str = "auto_round"
    max_shard_bytes: int = 5 * 10**9
    revision: str | None = None
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False
    upload_to_model_id: str | None = None

    def __post_init__(self) -> None:
        check_scheme(self.scheme, "the model")
        check_choice("--device", self.device, DEVICES)
        check_choice("--format", self.format, FORMATS)
        for option, value, least in (
            ("--iters", self.tuning.iters, 0),
            ("--nsamples", self.tuning.nsamples, 1),
            ("--batch-size", self.tuning.batch_size, 1),
            ("--nblocks", self.tuning.nblocks, 1),
            ("--gradient-accumulate-steps", self.tuning.gradient_accumulate_steps, 1),
            ("--seqlen", self.tuning.seqlen_tokens or 1, 1),
            ("--max-shard-size", self.max_shard_bytes, 1),
        ):
            if value < least:
                raise ConfigError(f"{option} is {value}; it must be at least {least}")
        for option, rate in (("--lr", self.tuning.lr), ("--minmax-lr", self.tuning.minmax_lr)):
            if rate is not None and not 0 < rate <= 1:
                raise ConfigError(f"{option} is {rate}; a learning rate lies above 0 and is at most 1")
        if self.resume and self.tuning.nblocks > 1:
            raise ConfigError("--resume continues block by block; use it with --nblocks 1")


def check_scheme(scheme: LayerScheme, where: str) -> None:
    """Raise ConfigError for a scheme that AutoRound does not quantize to; `where` names the layer."""
    if scheme.bits not in (*BITS, UNQUANTIZED_BITS):
        raise ConfigError(f"{where}: bits is {scheme.bits}; choose 2, 3, 4 or 8 (16 keeps a layer unquantized)")
    if scheme.group_size != -1 and (scheme.group_size < 32 or scheme.group_size % 32):
        raise ConfigError(
            f"{where}: group size is {scheme.group_size}; choose a multiple of 32, or -1 for one group a row"
        )
    if scheme.bits == 8 and not scheme.sym:
        raise ConfigError(
            f"{where}: 8-bit asymmetric weights have no kernel, and auto-round refuses them; use --sym with 8 bits"
        )


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError for a value that is not among the choices."""
    if value not in choices:
        raise ConfigError(f"{option} is {value!r}; choose one of {', '.join(choices)}")
