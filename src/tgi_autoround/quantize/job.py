"""One quantization job from options to a published model."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tgi_autoround import __version__
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize import hub
from tgi_autoround.quantize.assemble import assemble
from tgi_autoround.quantize.card import write_model_card
from tgi_autoround.quantize.config import QuantizeConfig
from tgi_autoround.quantize.joblog import JobLog
from tgi_autoround.quantize.preflight import Job, prepare_job
from tgi_autoround.quantize.run import run_autoround
from tgi_autoround.quantize.verify import verify
from tgi_autoround.quantize.workspace import Workspace, signature_of


def quantize_model(config: QuantizeConfig, console: Console) -> Path:
    """Quantize a model and return OUT, which changes only once the result is complete and verified.

    Raises QuantizeError, ConfigError or CheckpointError; whatever was in OUT is then still there.
    """
    job = prepare_job(config)
    workspace = Workspace(config.output_dir)
    try:
        with workspace.locked(), JobLog(workspace.log_file, console) as log:
            _quantize(job, workspace, log)
    except OSError as error:
        raise QuantizeError(
            f"the result could not be written: {error}; make room, then run the command again with --resume"
        ) from error
    if config.upload_to_model_id:
        address = hub.upload(config.output_dir, config.upload_to_model_id)
        console.print(f"pushed to {address}", highlight=False, markup=False)
    return config.output_dir


def _quantize(job: Job, workspace: Workspace, log: JobLog) -> None:
    config = job.config
    workspace.restore()
    goes_on = workspace.prepare(
        signature_of(config, job.source, job.samples), blocks=job.source.num_blocks, resume=config.resume
    )
    log.event("start", version=__version__, device=job.device, resumed=goes_on, tuning=asdict(config.tuning))
    log.say(_what(job) + (f", going on after {_done(workspace)}" if goes_on else ""))
    tuned = workspace.tuned_model()
    if tuned is None:
        tuned = run_autoround(config, job.source, job.plan, job.samples, workspace, log, device=job.device)
        workspace.mark_tuned(tuned)
    assemble(job.source, tuned, workspace.result, max_shard_bytes=config.max_shard_bytes)
    write_model_card(job, workspace.result)
    _verify(job, workspace.result, log)
    workspace.publish(overwrite=config.overwrite)
    log.say(f"{config.output_dir} is complete: {_size_bytes(config.output_dir) / 1e6:.1f} MB")
    log.event("done", output_dir=str(config.output_dir))


def _done(workspace: Workspace) -> str:
    return "the tuning" if workspace.tuned_model() else f"{workspace.finished_blocks()} blocks"


def _verify(job: Job, result: Path, log: JobLog) -> None:
    checks = {}
    for name, check in verify(open_checkpoint(result), job.source, job.plan, job.config.tuning):
        checks[name] = check
        log.event("verified", layer=name, **asdict(check))
    furthest = max(checks, key=lambda name: checks[name].code_steps)
    log.say(
        f"verified {len(checks)} layers against the float model; the furthest code lies "
        f"{checks[furthest].code_steps:.2f} steps from its weight ({furthest})"
    )


def _what(job: Job) -> str:
    widths = Counter(f"W{scheme.bits}" for scheme in job.plan.quantized_layers.values())
    layers = ", ".join(f"{count} layers {width}" for width, count in sorted(widths.items()))
    tuning = job.config.tuning
    how = f"{tuning.iters} iterations a block" if tuning.needs_calibration else "rounding to nearest"
    if job.samples is not None:
        how += f" on {job.samples.shape[0]} samples of {job.samples.shape[1]} tokens"
    return f"quantizing {job.config.model} on {job.device}: {layers}; {how}"


def _size_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*"))
