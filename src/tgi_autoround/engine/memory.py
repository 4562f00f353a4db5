"""How much memory is free for the cache."""

from pathlib import Path

import psutil
import torch

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_USE = Path("/sys/fs/cgroup/memory.current")


def available_bytes(device: torch.device) -> int:
    """Return the free bytes of the device; on the CPU no more than the container may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available: int = psutil.virtual_memory().available
    try:
        limit = CGROUP_LIMIT.read_text(encoding="ascii").strip()
        return available if limit == "max" else min(available, int(limit) - int(CGROUP_USE.read_text(encoding="ascii")))
    except OSError:
        return available
