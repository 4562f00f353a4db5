"""Intel Gaudi's kernels: codes of up to 4 bits through its op for them, wider ones through plain torch.

Weights stay packed on the card and become the compute dtype in every call. Scales take the compute dtype: exact in
float32, rounded once at load in bfloat16 (docs/gaudi.md says what that costs).
"""

from tgi_autoround.kernels.hpu.int8 import HpuInt8Kernel
from tgi_autoround.kernels.hpu.uint4 import HpuUint4Kernel

__all__ = ["HpuInt8Kernel", "HpuUint4Kernel"]
