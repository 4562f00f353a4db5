"""Compile the kernels that the wheel ships: `python -m tgi_autoround.kernels.cuda.aot`. No GPU is needed, triton is.

Run it before the wheel is built; a second run compiles only what changed.
"""

import argparse
import os
import sys
from pathlib import Path

from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda.aot.build import build
from tgi_autoround.kernels.cuda.aot.everything import everything
from tgi_autoround.kernels.cuda.manifest import CUBINS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tgi_autoround.kernels.cuda.aot", description=__doc__)
    parser.add_argument("--folder", type=Path, default=CUBINS, help="where to (default: in the package)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    arguments = parser.parse_args()
    try:
        build(everything(), arguments.folder, arguments.jobs, _say)
    except KernelError as error:
        sys.exit(f"error: {error}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
