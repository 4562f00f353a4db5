"""All that the wheel ships."""

from collections.abc import Iterator

from tgi_autoround.kernels.cuda import shipped
from tgi_autoround.kernels.cuda.hopper.shipped import hopper
from tgi_autoround.kernels.cuda.specialization import Specialization


def everything() -> Iterator[Specialization]:
    """Yield every specialization that is compiled ahead of time."""
    yield from shipped.portable()
    yield from hopper()
