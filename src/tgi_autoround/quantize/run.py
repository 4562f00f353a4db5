"""The auto-round job itself."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.config import QuantizeConfig
from tgi_autoround.quantize.joblog import JobLog
from tgi_autoround.quantize.plan import Plan
from tgi_autoround.quantize.source import SourceModel
from tgi_autoround.quantize.watch import watched
from tgi_autoround.quantize.workspace import Workspace

if TYPE_CHECKING:
    import torch

DEVICE_MAP = {"cpu": "cpu", "cuda": "0", "hpu": "hpu"}
OUT_OF_SPACE = ("No space left on device", "Disk quota exceeded", "File too large")


def run_autoround(
    config: QuantizeConfig,
    source: SourceModel,
    plan: Plan,
    samples: "torch.Tensor | None",
    workspace: Workspace,
    log: JobLog,
    *,
    device: str,
) -> Path:
    """Quantize `source` into the workspace and return the directory of auto-round's files.

    samples: int64 [nsamples, seqlen_tokens], or None where nothing is tuned
    Raises QuantizeError for whatever ends auto-round, its sys.exit included.
    """
    directories = {"AR_WORK_SPACE": workspace.scratch}
    if is_resumable(config, plan):
        directories["AR_RESUME_DIR"] = workspace.resume
    with watched(log, workspace.finished_blocks()), _environment(directories):
        try:
            from auto_round import AutoRound

            job = AutoRound(str(source.path), **_arguments(config, plan, samples, device))
            _, folder = job.quantize_and_save(
                str(workspace.tuned), format=config.format, max_shard_size=config.max_shard_bytes
            )
        # auto-round raises every kind of error, and calls sys.exit in calibration/llm.py and utils/model.py (0.16.1).
        except (Exception, SystemExit) as error:
            raise QuantizeError(_explain(error, workspace)) from error
    return Path(folder)


def is_resumable(config: QuantizeConfig, plan: Plan) -> bool:
    """Whether auto-round writes each tuned block to disk at once, and can so go on after the last of them."""
    return config.tuning.needs_calibration and config.tuning.nblocks == 1 and not plan.quantizes_head


def _arguments(config: QuantizeConfig, plan: Plan, samples: "torch.Tensor | None", device: str) -> dict[str, Any]:
    from auto_round.schemes import QuantizationScheme

    scheme, tuning = config.scheme, config.tuning
    arguments: dict[str, Any] = {
        "scheme": QuantizationScheme(
            bits=scheme.bits, group_size=scheme.group_size, sym=scheme.sym, data_type="int", act_bits=16
        ),
        "layer_config": _layer_config(plan),
        "scale_dtype": tuning.scale_dtype,
        "amp": tuning.amp,
        "device_map": DEVICE_MAP[device],
        "low_gpu_mem_usage": tuning.low_gpu_mem_usage,
        # Compiling costs minutes and pays on an accelerator only.
        "enable_torch_compile": device != "cpu",
        "seed": tuning.seed,
        "trust_remote_code": config.trust_remote_code,
        # Saving each block as it is done would lose a head that is quantized without tuning: the config then names
        # a packed lm_head that the file does not hold (auto-round 0.16.1, compressors/orchestrator.py).
        "low_cpu_mem_usage": not plan.quantizes_head,
    }
    if samples is None:
        # The model-free path, auto-round's own choice here, starts worker processes and takes no 3-bit weights.
        return {**arguments, "iters": 0, "disable_opt_rtn": True, "disable_model_free": True}
    return {
        **arguments,
        "alg_configs": _tuning_config(config),
        "dataset": _batches(samples, tuning.batch_size),
        "nsamples": samples.shape[0],
        "seqlen": samples.shape[1],
        "batch_size": tuning.batch_size,
    }


def _tuning_config(config: QuantizeConfig) -> Any:
    from auto_round import SignRoundConfig

    tuning = config.tuning
    return SignRoundConfig(
        iters=tuning.iters,
        lr=tuning.lr,
        minmax_lr=tuning.minmax_lr,
        nblocks=tuning.nblocks,
        gradient_accumulate_steps=tuning.gradient_accumulate_steps,
        enable_quanted_input=tuning.enable_quanted_input,
        enable_minmax_tuning=tuning.enable_minmax_tuning,
    )


def _layer_config(plan: Plan) -> dict[str, dict[str, Any]]:
    """Name every layer that differs by its exact name: auto-round's own reading of a regex escapes its dots."""
    return {
        name: {"bits": scheme.bits, "group_size": scheme.group_size, "sym": scheme.sym, "data_type": "int"}
        if scheme.is_quantized
        else {"bits": scheme.bits, "data_type": "float"}
        for name, scheme in plan.overrides.items()
    }


def _batches(samples: "torch.Tensor", batch_size: int) -> list[dict[str, "torch.Tensor"]]:
    """Cut the samples into batches whose mask says that nothing is padding.

    Without a mask auto-round takes every token equal to the pad token, often the end of text, for padding.
    """
    import torch

    return [
        {"input_ids": batch, "attention_mask": torch.ones_like(batch)} for batch in torch.split(samples, batch_size)
    ]


@contextlib.contextmanager
def _environment(directories: Mapping[str, Path]) -> Iterator[None]:
    """Set auto-round's directories, which it takes from the environment alone."""
    before = {name: os.environ.get(name) for name in directories}
    os.environ.update({name: str(path) for name, path in directories.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _explain(error: BaseException, workspace: Workspace) -> str:
    if any(sign in str(error) for sign in OUT_OF_SPACE):
        return (
            f"the disk is full: {error}; free some space beside {workspace.output_dir}, "
            "then run the command again with --resume"
        )
    return f"auto-round stopped: {type(error).__name__}: {error}; its own messages are in {workspace.log_file}"
