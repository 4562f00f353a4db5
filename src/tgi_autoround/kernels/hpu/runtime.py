"""Whether Gaudi's software on this machine can run its 4-bit op."""

from importlib.util import find_spec

import torch


def why_op_is_missing() -> str | None:
    """Return why `torch.ops.hpu.convert_from_uint4` cannot be called here, None where it can.

    Also None on a machine without Gaudi's software, which can only ask what a Gaudi would do.
    """
    if find_spec("habana_frameworks") is None:
        return None
    from habana_frameworks.torch.utils import internal  # type: ignore[import-not-found]

    if not hasattr(torch.ops.hpu, "convert_from_uint4"):
        return "this version of Gaudi's software has no op torch.ops.hpu.convert_from_uint4"
    if not internal.is_lazy():
        return "its op runs in lazy mode only; set PT_HPU_LAZY_MODE=1"
    return None
