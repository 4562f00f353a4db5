"""RMSNorm in fewer passes over its input than torch.rms_norm makes on a CPU: twice as fast from some dozens of rows."""

import torch

from tgi_autoround.engine.decoder.weights import Norm


class RmsNorm:
    """`x / sqrt(mean(x * x) + eps) * weight` of the last n features: `x / sqrt(|x|^2 + n eps) * (sqrt(n) weight)`."""

    def __init__(self, norm: Norm) -> None:
        width = norm.weight.shape[-1]
        self._weight = norm.weight * width**0.5
        self._eps = torch.tensor(width * norm.eps)

    def __call__(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the norm of float32 [..., width], written to `out` where that is given; it may be x."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return torch.mul(x, torch.addcmul(self._eps, length, length).rsqrt_(), out=out).mul_(self._weight)
