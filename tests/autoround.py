"""Checkpoints made by auto-round itself, round-to-nearest, in seconds."""

import os
from pathlib import Path

from auto_round import AutoRound
from auto_round.schemes import QuantizationScheme


def quantize_rtn(model_dir: Path, out: Path, *, bits: int, sym: bool = True, group_size: int = 128) -> Path:
    """Quantize in auto-round's default format and return the directory that it wrote."""
    os.environ["AR_WORK_SPACE"] = str(out / "work-space")
    job = AutoRound(
        str(model_dir),
        scheme=QuantizationScheme(bits=bits, group_size=group_size, sym=sym, data_type="int", act_bits=16),
        iters=0,
        disable_opt_rtn=True,
        disable_model_free=True,
        device_map="cpu",
        enable_torch_compile=False,
    )
    _model, folder = job.quantize_and_save(str(out), format="auto_round")
    return Path(folder)
