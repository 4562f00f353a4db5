"""Where torch is installed from: the one dependency whose ordinary build can be gigabytes too large."""

import shutil
import subprocess
import sys
from dataclasses import dataclass

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_PROBE_LIMIT_S = 6


@dataclass(frozen=True)
class TorchSource:
    pip_options: tuple[str, ...]
    reason: str


def choose_torch_source(cpu_index: str = CPU_INDEX) -> TorchSource:
    """The CUDA build where a GPU is, the CPU build elsewhere, the ordinary index where that has no route."""
    if _has_nvidia_gpu():
        return TorchSource((), "an NVIDIA GPU is here, so torch's CUDA build from the ordinary index")
    if _is_reachable(cpu_index):
        return TorchSource(("--index-url", cpu_index), f"no NVIDIA GPU, so torch's CPU build from {cpu_index}")
    return TorchSource(
        (),
        f"no NVIDIA GPU, but {cpu_index} is out of reach: torch from the ordinary index, "
        "a CPU build where pip is set up for one, the CUDA build (several GB) elsewhere",
    )


def _has_nvidia_gpu() -> bool:
    """nvidia-smi may be installed without a GPU or a driver, so it has to name one."""
    if shutil.which("nvidia-smi") is None:
        return False
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU 0" in listing.stdout


def _is_reachable(index: str) -> bool:
    """Whether the index answers for torch within a few seconds.

    In a process of its own, because a name lookup heeds no timeout.
    """
    probe = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5).close()"
    try:
        finished = subprocess.run(
            [sys.executable, "-c", probe, f"{index}/torch/"], capture_output=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return finished.returncode == 0
