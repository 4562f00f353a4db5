"""The model card: what the directory holds, how it was made, how to serve it."""

import json
from importlib.metadata import version
from pathlib import Path

from tgi_autoround import __version__
from tgi_autoround.quantize.config import DEFAULT_DATASET
from tgi_autoround.quantize.preflight import Job

CARD = """\
---
{front_matter}
---

# {title}

{base}, its weights quantized with [AutoRound](https://github.com/intel/auto-round) by tgi-autoround.

| | |
|---|---|
| weights | {scheme} |
| quantized layers | {quantized} of {linears} linear layers |
| layers that differ | {overrides} |
| tuning | {tuning} |
| calibration | {calibration} |
| packing | {packing} |
| made with | tgi-autoround {version}, auto-round {auto_round}, torch {torch}, transformers {transformers} |

Every quantized layer was decoded and compared with the float model before this directory was published; everything
else is the float model's, bit for bit.

    tgi-autoround serve --model-id {title} --quantize auto-round
"""


def write_model_card(job: Job, directory: Path) -> None:
    """Write README.md into a finished model directory."""
    linears = len(job.plan.block_schemes) + len(job.plan.head_schemes)
    card = CARD.format(
        front_matter="\n".join(_front_matter(job)),
        title=job.config.output_dir.name,
        base=_base(job),
        scheme=_scheme(job),
        quantized=len(job.plan.quantized_layers),
        linears=linears,
        overrides=len(job.plan.overrides),
        tuning=_tuning(job),
        calibration=_calibration(job),
        packing=job.plan.packing_format,
        version=__version__,
        auto_round=version("auto-round"),
        torch=version("torch"),
        transformers=version("transformers"),
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


def _front_matter(job: Job) -> list[str]:
    lines = [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [auto-round, text-generation-inference]",
    ]
    if not Path(job.config.model).exists():
        lines += [f"base_model: {json.dumps(job.config.model)}", "base_model_relation: quantized"]
    return lines


def _base(job: Job) -> str:
    local = Path(job.config.model).exists()
    return f"`{job.source.path.name}`" if local else f"[{job.config.model}](https://huggingface.co/{job.config.model})"


def _scheme(job: Job) -> str:
    scheme = job.config.scheme
    groups = f"groups of {scheme.group_size}" if scheme.group_size > 0 else "one group a row"
    return f"{scheme.bits} bits, {'symmetric' if scheme.sym else 'asymmetric'}, {groups}"


def _tuning(job: Job) -> str:
    tuning = job.config.tuning
    if not tuning.needs_calibration:
        return "none: rounded to nearest"
    return f"{tuning.iters} iterations a block, learning rate {tuning.lr or '1/iterations'}, seed {tuning.seed}"


def _calibration(job: Job) -> str:
    if job.samples is None:
        return "none"
    brought_along = job.source.calibration_file
    dataset = job.config.dataset or (f"the model's own {brought_along.name}" if brought_along else DEFAULT_DATASET)
    return f"{job.samples.shape[0]} samples of {job.samples.shape[1]} tokens: {dataset}"
