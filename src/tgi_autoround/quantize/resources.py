"""What a job takes of disk and memory, estimated before it starts, and what this machine has left."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.config import LayerScheme, QuantizeConfig
from tgi_autoround.quantize.plan import Plan
from tgi_autoround.quantize.source import SourceModel

SCALE_BYTES = 2
FLOAT32_BYTES = 4
EXPERTS = ".experts."
# A block is tuned with its weights, their rounding offsets, the offsets' gradients and the rounded weights at once.
COPIES_OF_TUNED_BLOCK = 4
CGROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


@dataclass(frozen=True)
class Estimate:
    """Lower bounds: a machine with less than this cannot finish the job."""

    result_bytes: int
    disk_bytes: int
    memory_bytes: int
    accelerator_bytes: int


def estimate(config: QuantizeConfig, source: SourceModel, plan: Plan, *, device: str, seqlen_tokens: int) -> Estimate:
    """Return what the job needs at least of disk beside OUT, of main memory, and of the accelerator's."""
    shapes = {**source.block_linears, **source.head}
    quantized = plan.quantized_layers
    plain_bytes = sum(
        size for name, size in source.tensor_bytes.items() if name.removesuffix(".weight") not in quantized
    )
    packed_bytes = sum(_packed_bytes(scheme, *shapes[name]) for name, scheme in quantized.items())
    result_bytes = packed_bytes + plain_bytes
    activation_bytes = _activation_bytes(config, source, seqlen_tokens)
    tuning_bytes = _block_params(source) * FLOAT32_BYTES * COPIES_OF_TUNED_BLOCK
    on_accelerator = device != "cpu" and config.tuning.needs_calibration
    return Estimate(
        result_bytes=result_bytes,
        # auto-round's own files, then the published copy of them, and the activations that --resume starts from.
        disk_bytes=2 * result_bytes + activation_bytes,
        memory_bytes=_resident_bytes(source) + activation_bytes + (0 if on_accelerator else tuning_bytes),
        accelerator_bytes=tuning_bytes if on_accelerator else 0,
    )


def check_disk(directory: Path, needed_bytes: int) -> None:
    """Raise QuantizeError where the file system of `directory` has less than `needed_bytes` free."""
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes:
        raise QuantizeError(
            f"not enough disk: the job needs about {_gb(needed_bytes)} beside OUT, {directory} has {_gb(free_bytes)} "
            "free; free some, or choose an OUT on a larger disk"
        )


def check_memory(needed: Estimate, *, device: str) -> None:
    """Raise QuantizeError where main memory or the accelerator's is less than the estimate."""
    free_bytes = available_memory_bytes()
    if free_bytes < needed.memory_bytes:
        raise QuantizeError(
            f"not enough memory: the job needs at least {_gb(needed.memory_bytes)}, {_gb(free_bytes)} are available; "
            "lower --nsamples or --seqlen, or use --recipe rtn, which needs no calibration"
        )
    if device == "cuda" and needed.accelerator_bytes:
        import torch

        free_bytes, _ = torch.cuda.mem_get_info()
        if free_bytes < needed.accelerator_bytes:
            raise QuantizeError(
                f"not enough GPU memory: tuning a block needs at least {_gb(needed.accelerator_bytes)}, "
                f"{_gb(free_bytes)} are free; use --device cpu, or --recipe rtn"
            )


def available_memory_bytes() -> int:
    """Return the memory that this process may still take: the kernel's estimate, within its container's limit."""
    return min([_kernel_available_bytes(), *_container_available_bytes()])


def _kernel_available_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _container_available_bytes() -> list[int]:
    found = []
    for limit, usage in CGROUP_LIMITS:
        if limit.is_file() and limit.read_text(encoding="ascii").strip() != "max":
            found.append(int(limit.read_text(encoding="ascii")) - int(usage.read_text(encoding="ascii")))
    return found


def _packed_bytes(scheme: LayerScheme, out_features: int, in_features: int) -> int:
    group_size = scheme.group_size if scheme.group_size > 0 else in_features
    groups = -(-in_features // group_size)
    code_bits = (in_features + groups) * out_features * scheme.bits
    return code_bits // 8 + groups * out_features * SCALE_BYTES


def _activation_bytes(config: QuantizeConfig, source: SourceModel, seqlen_tokens: int) -> int:
    """Size of a block's inputs for all samples, which are kept twice: of the float and of the quantized model."""
    if not config.tuning.needs_calibration:
        return 0
    itemsize = 2 if config.tuning.amp else FLOAT32_BYTES
    copies = 2 if config.tuning.enable_quanted_input else 1
    return copies * config.tuning.nsamples * seqlen_tokens * source.hidden_size * itemsize


def _block_params(source: SourceModel) -> int:
    return sum(out * in_ for out, in_ in source.block_linears.values()) // source.num_blocks


def _resident_bytes(source: SourceModel) -> int:
    """Size of the weights held at once: all, but of a mixture's experts, which auto-round streams, one block's."""
    expert_bytes = sum(size for name, size in source.tensor_bytes.items() if EXPERTS in name)
    return sum(source.tensor_bytes.values()) - expert_bytes + expert_bytes // source.num_blocks


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
