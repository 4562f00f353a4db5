"""`tgi-autoround quantize MODEL OUT`, also answering to TGI's `text-generation-server quantize`.

Only what the command line itself needs is imported here, so that `--help` does not wait for torch.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tgi_autoround.errors import ConfigError

METHODS = ("autoround", "auto-round", "auto_round")
INTERRUPTED_EXIT_CODE = 130


def _spelling(name: str) -> str:
    return name.lower().replace("_", "-")


# --MODEL_ID and --group_size are the spellings of TGI's proposal and of the old auto-round script.
CONTEXT_SETTINGS = {"token_normalize_func": _spelling}

Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A model directory or a hub id.", show_default=False)
]
Out = Annotated[Path | None, typer.Argument(metavar="OUT", help="The directory to write.", show_default=False)]
OldName = typer.Option(hidden=True)


def quantize(
    model: Model = None,
    out: Out = None,
    bits: Annotated[int, typer.Option(help="Width of the weights: 2, 3, 4 or 8.")] = 4,
    group_size: Annotated[int, typer.Option(help="Weights that share a scale; -1 for a whole row.")] = 128,
    sym: Annotated[bool, typer.Option("--sym/--asym", help="Zero point in the middle, or tuned.")] = True,
    recipe: Annotated[str, typer.Option(help="rtn (no tuning), light, default or best.")] = "default",
    iters: Annotated[int | None, typer.Option(help="Tuning iterations a block; 0 is rounding to nearest.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the rounding; default 1/iters.")] = None,
    minmax_lr: Annotated[float | None, typer.Option(help="Learning rate of the ranges; default --lr.")] = None,
    nsamples: Annotated[int | None, typer.Option(help="Calibration samples.")] = None,
    seqlen: Annotated[int | None, typer.Option(help="Tokens a sample; default 2048 or the model's context.")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a tuning step.")] = 8,
    scale_dtype: Annotated[str, typer.Option(help="fp16, bf16 or fp32: what scales are tuned in.")] = "fp16",
    amp: Annotated[bool, typer.Option("--amp/--no-amp", help="Tune in mixed precision where the device can.")] = True,
    nblocks: Annotated[int, typer.Option(help="Blocks tuned together.")] = 1,
    gradient_accumulate_steps: Annotated[int, typer.Option(help="Batches a tuning step.")] = 1,
    low_gpu_mem_usage: Annotated[
        bool, typer.Option("--low-gpu-mem-usage/--no-low-gpu-mem-usage", help="Keep activations in main memory.")
    ] = False,
    enable_quanted_input: Annotated[
        bool, typer.Option("--enable-quanted-input/--disable-quanted-input", help="Tune on quantized inputs.")
    ] = True,
    enable_minmax_tuning: Annotated[
        bool, typer.Option("--enable-minmax-tuning/--disable-minmax-tuning", help="Tune the ranges of groups.")
    ] = True,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Calibration text: a hub name, a .json, .jsonl or .txt file, or several with splits, such as "
            "./a.jsonl,NeelNanda/pile-10k:train,mbpp:train+test. Default: the model's own calibration.jsonl, else "
            "NeelNanda/pile-10k."
        ),
    ] = None,
    layer_config: Annotated[
        Path | None,
        typer.Option(help='Mixed widths: JSON such as {"mlp.down_proj": {"bits": 8}}; 16 bits: left alone.'),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or hpu.")] = "auto",
    format_: Annotated[
        str, typer.Option("--format", help="auto_round, auto_round:auto_gptq or auto_round:auto_awq.")
    ] = "auto_round",
    max_shard_size: Annotated[str, typer.Option(help="Largest weight file.")] = "5GB",
    seed: Annotated[int, typer.Option(help="Of the samples and of the tuning.")] = 42,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last block of an unfinished job.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT once the result is verified.")] = False,
    upload_to_model_id: Annotated[str | None, typer.Option(help="Push the result to this hub repository.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that the model brings along.")
    ] = False,
    method: Annotated[str, OldName] = "autoround",
    model_id: Annotated[str | None, OldName] = None,
    output_dir: Annotated[Path | None, OldName] = None,
    n_samples: Annotated[int | None, OldName] = None,
    n_blocks: Annotated[int | None, OldName] = None,
    weight_config: Annotated[Path | None, OldName] = None,
) -> None:
    """Quantize MODEL's weights with AutoRound into OUT, verified against the float model."""
    if method.lower() not in METHODS:
        raise ConfigError(f"--method is {method!r}; this command quantizes with autoround")
    nsamples = _renamed("--n-samples", n_samples, "--nsamples", nsamples)
    layer_config = _renamed("--weight-config", weight_config, "--layer-config", layer_config)
    nblocks = _renamed("--n-blocks", n_blocks, "--nblocks", None) or nblocks
    options = {
        "model": _given("MODEL", model, model_id),
        "output_dir": _given("OUT", out, output_dir),
        "scheme": {"bits": bits, "group_size": group_size, "sym": sym},
        "tuning": {
            "iters": iters,
            "lr": lr,
            "minmax_lr": minmax_lr,
            "nsamples": nsamples,
            "seqlen_tokens": seqlen,
            "batch_size": batch_size,
            "scale_dtype": scale_dtype,
            "amp": amp,
            "nblocks": nblocks,
            "gradient_accumulate_steps": gradient_accumulate_steps,
            "low_gpu_mem_usage": low_gpu_mem_usage,
            "enable_quanted_input": enable_quanted_input,
            "enable_minmax_tuning": enable_minmax_tuning,
            "seed": seed,
        },
        "recipe": recipe,
        "layer_config": layer_config,
        "max_shard_size": max_shard_size,
        "dataset": dataset,
        "device": device,
        "format": format_,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "resume": resume,
        "overwrite": overwrite,
        "upload_to_model_id": upload_to_model_id,
    }
    _run(options)


def _run(options: dict[str, Any]) -> None:
    from rich.console import Console

    from tgi_autoround.quantize.job import quantize_model
    from tgi_autoround.quantize.options import config_of_options

    console = Console(file=sys.stderr)  # auto-round runs with sys.stderr redirected; the console keeps the real one
    config = config_of_options(**options)
    try:
        quantize_model(config, console)
    except KeyboardInterrupt:
        console.print(f"interrupted; {config.output_dir} is as it was, --resume goes on after the last block")
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


def _renamed(old: str, old_value: Any, new: str, new_value: Any) -> Any:
    """Return the value of an option that may have come under its name in auto-round 0.1 and 0.2."""
    if old_value is None:
        return new_value
    if new_value is not None:
        raise ConfigError(f"{old} is the old name of {new}; give one of them")
    typer.echo(f"{old} is now {new}: taken as {new} {old_value}", err=True)
    return old_value


def _given(name: str, positional: Any, option: Any) -> Any:
    if positional is not None and option is not None:
        raise ConfigError(f"{name} is given twice, as {positional} and as {option}")
    if positional is None and option is None:
        raise ConfigError(f"{name} is missing: quantize MODEL OUT")
    return option if positional is None else positional
