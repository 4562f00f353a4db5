"""The machine code that the package ships, brought up to date where it lies: what is there is not made again."""

import os

import pytest

from tgi_autoround.kernels.cuda import manifest
from tgi_autoround.kernels.cuda.manifest import Cubin

Shipped = dict[tuple[str, str], Cubin]


@pytest.fixture(scope="session")
def shipped() -> Shipped:
    """By architecture and name."""
    from tgi_autoround.kernels.cuda.aot.build import build
    from tgi_autoround.kernels.cuda.aot.everything import everything

    build(everything(), manifest.CUBINS, os.cpu_count() or 1, print)
    return manifest.read()
