"""How much memory is free for the cache."""

from pathlib import Path

import psutil
import torch

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_USE = Path("/sys/fs/cgroup/memory.current")


def available_bytes(device: torch.device, gpu_fraction: float = 1.0) -> int:
    """Return the free bytes of the device; on the CPU no more than the container may still take.

    gpu_fraction: of a GPU's whole memory, the share that may be in use in the end
    """
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        return max(free - int(whole * (1 - gpu_fraction)), 0)
    available: int = psutil.virtual_memory().available
    try:
        limit = CGROUP_LIMIT.read_text(encoding="ascii").strip()
        return available if limit == "max" else min(available, int(limit) - int(CGROUP_USE.read_text(encoding="ascii")))
    except OSError:
        return available
