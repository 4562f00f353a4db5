#!/usr/bin/env python3
"""This project's CUDA kernels beside those of other libraries: errors against float64, and times in CUDA graphs.

    python benchmarks/kernels.py [--marlin LIBRARY] [--quick]

One run checks every kernel on fresh random inputs with outputs filled with NaN before, and times all of them on the
same layers in turn: weights rotated past the cache, medians of repeated replays. Prints a table a layer, writes
benchmarks/results/kernels.json and kernels.svg (time over the floor by rows), and exits with 1 where an error of this
project's kernels is beyond its bound. What a library cannot do, or is not installed, is said in the table.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    # Not at the top: in this folder transformers takes this file for the package `kernels` and imports it.
    from kernel_comparison import compare

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marlin", type=Path, help="the library that GPTQModel builds")
    parser.add_argument("--quick", action="store_true", help="the layers of the 8B model in W4 g128 asym bf16 alone")
    options = parser.parse_args()
    beyond = compare(options.marlin, quick=options.quick)
    sys.exit("errors beyond their bounds:\n" + "\n".join(beyond) if beyond else 0)


if __name__ == "__main__":
    main()
