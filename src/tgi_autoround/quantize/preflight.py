"""Everything that can be refused before the long work starts, each refusal a sentence with its remedy."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize import hub
from tgi_autoround.quantize.config import DEFAULT_DATASET, DEFAULT_SEQLEN_TOKENS, QuantizeConfig
from tgi_autoround.quantize.data import calibration_tokens, parse_dataset
from tgi_autoround.quantize.plan import Plan, make_plan
from tgi_autoround.quantize.resources import check_disk, check_memory, estimate
from tgi_autoround.quantize.source import SourceModel, check_architecture, open_source

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Job:
    """A job that nothing known stands against. `samples`: int64 [nsamples, seqlen_tokens], or None."""

    config: QuantizeConfig
    source: SourceModel
    plan: Plan
    device: str
    samples: "torch.Tensor | None"


def prepare_job(config: QuantizeConfig) -> Job:
    """Check everything, cheapest first, and return the job. Raises QuantizeError, ConfigError or CheckpointError."""
    check_output(config)
    check_auto_round()
    device = resolve_device(config.device)
    if config.upload_to_model_id:
        hub.check_upload(config.upload_to_model_id)
    source = open_source(_model_dir(config), trust_remote_code=config.trust_remote_code)
    _check_apart(config.output_dir, source.path)
    plan = make_plan(config, source)
    seqlen_tokens = config.tuning.seqlen_tokens or min(DEFAULT_SEQLEN_TOKENS, source.max_positions)
    needed = estimate(config, source, plan, device=device, seqlen_tokens=seqlen_tokens)
    check_disk(config.output_dir.parent, needed.disk_bytes)
    check_memory(needed, device=device)
    samples = _samples(config, source, seqlen_tokens) if config.tuning.needs_calibration else None
    return Job(config, source, plan, device, samples)


def check_output(config: QuantizeConfig) -> None:
    """Raise QuantizeError where OUT cannot be put in place by a rename, or would replace what the user did not name."""
    out = config.output_dir
    if not out.parent.is_dir():
        raise QuantizeError(f"{out.parent}: no such directory; create it, OUT itself is made by the job")
    if not os.access(out.parent, os.W_OK):
        raise QuantizeError(f"{out.parent} is not writable; the job works beside OUT and renames the result into place")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise QuantizeError(f"{out} is there already and is no directory; choose another OUT")
    if os.path.ismount(out):
        raise QuantizeError(
            f"{out} is a mount point, which nothing can be renamed onto; choose a directory in it: {out / 'model'}"
        )
    if out.is_dir() and any(out.iterdir()) and not config.overwrite:
        raise QuantizeError(f"{out} exists; choose another OUT, or replace it with --overwrite")


def check_auto_round() -> None:
    """Raise QuantizeError where auto-round is not installed."""
    if importlib.util.find_spec("auto_round") is None:
        raise QuantizeError(
            "auto-round is not installed; it needs Python 3.11 or later: pip install 'auto-round>=0.16.1,<0.17'"
        )


def resolve_device(device: str) -> str:
    """Return `cpu`, `cuda` or `hpu`. Raises QuantizeError where this machine does not have what was asked for."""
    import torch

    has_cuda = torch.cuda.is_available()
    has_hpu = importlib.util.find_spec("habana_frameworks") is not None
    if device == "auto":
        return "cuda" if has_cuda else "hpu" if has_hpu else "cpu"
    if device == "cuda" and not has_cuda:
        raise QuantizeError("--device cuda: torch sees no CUDA GPU on this machine; use --device cpu")
    if device == "hpu" and not has_hpu:
        raise QuantizeError("--device hpu: habana_frameworks is not installed here; use --device cpu, or a Gaudi image")
    return device


def _model_dir(config: QuantizeConfig) -> Path:
    path = Path(config.model).expanduser()
    looks_like_path = config.model.startswith((".", "/", "~")) or config.model.count("/") > 1
    if path.exists() or looks_like_path:
        return path
    description = hub.fetch_description(config.model, config.revision)
    check_architecture(description, trust_remote_code=config.trust_remote_code)
    return hub.fetch_model(config.model, config.revision)


def _check_apart(output_dir: Path, model_dir: Path) -> None:
    out, model = output_dir.resolve(), model_dir.resolve()
    if out.is_relative_to(model):
        raise QuantizeError(f"OUT {out} lies inside MODEL {model}; choose a directory beside it")
    if model.is_relative_to(out):
        raise QuantizeError(f"MODEL {model} lies inside OUT {out}, which the result would replace; choose another OUT")


def _samples(config: QuantizeConfig, source: SourceModel, seqlen_tokens: int) -> "torch.Tensor":
    from transformers import AutoTokenizer

    if seqlen_tokens > source.max_positions:
        raise QuantizeError(
            f"--seqlen {seqlen_tokens} is longer than the model's context of {source.max_positions} tokens"
        )
    dataset = config.dataset or str(source.calibration_file or DEFAULT_DATASET)
    tokenizer = AutoTokenizer.from_pretrained(source.path, trust_remote_code=config.trust_remote_code)
    return calibration_tokens(
        parse_dataset(dataset),
        tokenizer,
        nsamples=config.tuning.nsamples,
        seqlen_tokens=seqlen_tokens,
        seed=config.tuning.seed,
    )
