import hpu_emulation
from cpu_as_hpu import CpuAsHpu
from habana_frameworks.torch import core, hpu

__all__ = ["core", "hpu"]

hpu_emulation.register()
CpuAsHpu().__enter__()
