"""Checkpoints made by auto-round itself, round-to-nearest, in seconds."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auto_round import AutoRound
from auto_round.schemes import QuantizationScheme


def quantize_rtn(
    model_dir: Path,
    out: Path,
    *,
    bits: int,
    sym: bool = True,
    group_size: int = 128,
    form: str = "auto_round",
    max_shard_size: str | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Path:
    """Quantize in one of auto-round's formats and return the directory that it wrote.

    `options` are AutoRound's own: layer_config, quant_lm_head and the like.
    """
    with _environment({"AR_WORK_SPACE": str(out / "work-space"), **(environment or {})}):
        job = AutoRound(
            str(model_dir),
            scheme=QuantizationScheme(bits=bits, group_size=group_size, sym=sym, data_type="int", act_bits=16),
            iters=0,
            disable_opt_rtn=True,
            device_map="cpu",
            enable_torch_compile=False,
            **{"disable_model_free": True, **options},
        )
        job.max_shard_size = max_shard_size
        _model, folder = job.quantize_and_save(str(out), format=form)
    return Path(folder)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
