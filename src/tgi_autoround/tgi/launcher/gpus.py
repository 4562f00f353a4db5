"""What the stock launcher asks of the machine's GPUs, by the same means: nvidia-smi and variables, never torch."""

import subprocess
from collections.abc import Mapping

from tgi_autoround.tgi.launcher.command_line import CommandLine

QUERY_LIMIT_S = 30

# launcher/src/main.rs, 1712-1785, v3.3.7; names as nvidia-smi gives them, lowered and hyphenated.
TERAFLOPS_OF_CARD = {
    "nvidia-4090": 82,
    "nvidia-t4": 65,
    "nvidia-l4": 121,
    "nvidia-l40": 181,
    "nvidia-l40s": 363,
    "nvidia-a10g": 125,
    "nvidia-a40": 149,
    "nvidia-h100-80gb-hbm3": 900,
    "nvidia-h100-nvl": 900,
    "nvidia-h100": 900,
    "nvidia-a100-sxm4-80gb": 312,
    "nvidia-a100-sxm4-40gb": 312,
    "nvidia-a100-80gb-pcie": 312,
    "nvidia-a100": 312,
    "nvidia-h200": 989,
}


def compute_capability(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return (major, minor) of the first visible GPU, None where it cannot be known.

    The launcher asks torch (gpu.rs), whose first GPU may be another one on a machine with GPUs of several kinds.
    """
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    selected = [f"--id={first}"] if first else []
    rows = _query("compute_cap", environment, *selected) or _query("compute_cap", environment)
    major, _, minor = rows[0].partition(".") if rows else ("", "", "")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def flops(shards: int, environment: Mapping[str, str]) -> int | None:
    """Return the half-precision operations a second of `shards` GPUs, None for a card that the launcher does not know.

    The launcher takes the first GPU for all (main.rs 1819-1829).
    """
    rows = _query("gpu_name", environment)
    teraflops = TERAFLOPS_OF_CARD.get(rows[0].replace(" ", "-").lower()) if rows else None
    return None if teraflops is None else shards * teraflops * 10**12


def number_of_shards(line: CommandLine) -> int | None:
    """Return how many shards the launcher will start (main.rs 1374-1412), None where it will refuse."""
    sharded, num_shard = line.value("--sharded"), line.value("--num-shard")
    if num_shard is not None:
        shards = int(num_shard) if num_shard.isdecimal() else 0
    elif sharded == "false":
        shards = 1
    else:
        shards = _visible_gpus(line.environment) or (0 if sharded == "true" else 1)
    if shards < 1 or (sharded == "true" and shards < 2):
        return None
    return shards


def _visible_gpus(environment: Mapping[str, str]) -> int | None:
    """main.rs 1262-1288."""
    devices = environment.get("CUDA_VISIBLE_DEVICES")
    if devices is None:
        devices = environment.get("NVIDIA_VISIBLE_DEVICES", environment.get("ZE_AFFINITY_MASK"))
        if devices is not None and "NVIDIA_VISIBLE_DEVICES" in environment and devices.strip() in ("all", "void"):
            return max(len(_query("uuid", environment)), 1)
    return None if devices is None else len(devices.split(","))


def _query(field: str, environment: Mapping[str, str], *selection: str) -> list[str]:
    """Return the field of each GPU, nothing where nvidia-smi is not there or fails."""
    command = ["nvidia-smi", *selection, f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=QUERY_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [row.strip() for row in done.stdout.splitlines() if row.strip()]
