"""The portable CUDA kernel's results on a CPU, in triton's interpreter, against float64."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.cuda.cases import CASES, Case

BOUNDS = {"float16": 0.0004, "bfloat16": 2**-7}
"""The interpreter cuts bfloat16 off, by up to 2**-7, where GPUs round (runtime/interpreter.py:560, triton 3.9)."""
BOUNDS_DEQUANTIZED = {"float16": 0.001, "bfloat16": 2**-6}
"""Weights are rounded as well."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.kernels.cuda.interpreted"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_width_group_and_shape_equals_float64_in_every_configuration(case: Case, found: dict[str, Any]) -> None:
    for name, error in found["cases"][str(case)].items():
        bounds = BOUNDS_DEQUANTIZED if name == "dequantized" else BOUNDS
        assert error < bounds[case.dtype], name


def test_rows_of_several_dimensions_beyond_the_fused_kernels_limit_are_multiplied_too(found: dict[str, Any]) -> None:
    assert found["many rows"] < BOUNDS_DEQUANTIZED["float16"]


def test_slices_of_wider_activations_are_multiplied_as_their_copies_are(found: dict[str, Any]) -> None:
    assert found["slices"] < BOUNDS["float16"]


def test_a_machine_without_triton_can_import_the_kernels(found: dict[str, Any]) -> None:
    assert not found["imported triton by itself"]


def test_the_kernel_that_packs_equals_the_torch_version_bit_for_bit(found: dict[str, Any]) -> None:
    assert found["packings that differ"] == []


def test_the_operator_passes_torchs_checks_and_compiles_as_one_graph(found: dict[str, Any]) -> None:
    assert found["compiled by torch"] < BOUNDS["float16"]
