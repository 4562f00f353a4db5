"""The engine's CUDA kernels and the decoder made of them on a CPU, in triton's interpreter, against torch."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOUND = 2e-6
"""A relative error that float32 arithmetic stays below."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.engine.cuda.interpreted"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_sum_and_its_norm_equal_torchs(found: dict[str, Any]) -> None:
    assert found["norm"] < BOUND


def test_every_gated_activation_equals_torchs(found: dict[str, Any]) -> None:
    assert set(found["activations"]) == {"silu", "gelu", "gelu_tanh"}
    assert max(found["activations"].values()) < BOUND


def test_rows_that_fill_up_a_batch_store_nothing(found: dict[str, Any]) -> None:
    assert found["padding"] == 0


def test_decode_attention_equals_its_definition_however_it_is_split(found: dict[str, Any]) -> None:
    assert {name: error for name, error in found["decode attention"].items() if not error < BOUND} == {}


def test_a_later_chunk_of_a_prompt_sees_what_came_before_it(found: dict[str, Any]) -> None:
    assert found["chunk"] < BOUND


def test_greedy_choices_take_the_first_of_ties_and_show_nan(found: dict[str, Any]) -> None:
    greedy = found["greedy"]
    assert greedy["tokens"] == greedy["expected tokens"]
    assert greedy["logprobs"] == pytest.approx(greedy["expected logprobs"], abs=1e-5)
    assert all(math.isnan(logprob) for logprob in greedy["logprobs of NaN"])
    assert all(token < 100 for token in greedy["tokens of NaN"])


def test_decoders_equal_transformers_in_steps_of_prompts_and_decoding(found: dict[str, Any]) -> None:
    """Biases; norms of queries and keys; half of a head rotated; norms from one; norms of outputs, windows, caps."""
    assert set(found["decoders"]) == {"llama", "qwen3", "phi3", "gemma", "gemma2"}
    assert {family: error for family, error in found["decoders"].items() if not error < 10 * BOUND} == {}


def test_an_engine_whose_steps_run_ahead_answers_as_generate_does(found: dict[str, Any]) -> None:
    """The log-probabilities would show a sequence whose slot moves while it loses what the step ahead has cached."""
    engine = found["engine"]
    assert engine["tokens"] == engine["expected tokens"]
    assert len({len(tokens) for tokens in engine["tokens"]}) > 3
    for logprobs, expected in zip(engine["logprobs"], engine["expected logprobs"], strict=True):
        assert logprobs == pytest.approx(expected, abs=1e-4)
