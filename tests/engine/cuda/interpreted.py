"""Run the engine's CUDA kernels in triton's interpreter and print their errors as JSON. A process of its own:

    TRITON_INTERPRET=1 python -m tests.engine.cuda.interpreted

triton reads the variable where kernels are defined, and tests of the compiler need it unset.
"""

import json
import sys
from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional

from tests.engine.cuda.decoders import FAMILIES, error_of_decoder
from tests.engine.cuda.engines import answers_of_engine
from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.cuda.ops import decode_attention
from tgi_autoround.engine.cuda.ops.activation import gated
from tgi_autoround.engine.cuda.ops.greedy import choose_greedy
from tgi_autoround.engine.cuda.ops.norm import add_rms_norm
from tgi_autoround.engine.cuda.ops.prefill_attention import attend_chunk
from tgi_autoround.engine.cuda.ops.rotary import RotaryTables, RowPlaces, rotate_and_store
from tgi_autoround.engine.decoder.weights import Norm

CPU = torch.device("cpu")


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def error_of_norm() -> float:
    x, residual, weight = torch.randn(3, 100), torch.randn(3, 100), torch.randn(100)
    total = (x + residual).double()
    normed = add_rms_norm(x, residual, Norm(weight, 1e-5))
    expected = functional.rms_norm(total, (100,), weight.double(), 1e-5)
    return relative_error(normed, expected) + relative_error(residual, total)


def errors_of_activations() -> Iterator[tuple[str, float]]:
    gate_up = torch.randn(3, 2 * 1500)
    gate, up = gate_up.double().chunk(2, dim=1)
    yield "silu", relative_error(gated(gate_up, "silu"), functional.silu(gate) * up)
    yield "gelu", relative_error(gated(gate_up, "gelu"), functional.gelu(gate) * up)
    yield "gelu_tanh", relative_error(gated(gate_up, "gelu_tanh"), functional.gelu(gate, approximate="tanh") * up)


def numbers_that_padding_stores() -> int:
    """Rows at position -1, which fill up a captured batch, beside one of a sequence: 2 heads of 16, twice."""
    keys, values = torch.zeros(2, 4, 2, 8, 16)
    positions = torch.tensor([-1, 3, -1], dtype=torch.int32)
    places = RowPlaces(torch.arange(3, dtype=torch.int32), positions)
    tables = RotaryTables(torch.ones(8, 8), torch.ones(8, 8))
    rotate_and_store(torch.randn(3, 8 * 16), keys, values, places, tables, None, None)
    return int(keys.count_nonzero() + values.count_nonzero()) - 2 * 2 * 16


def errors_of_decode_attention() -> Iterator[tuple[str, float]]:
    """Sequences that fill one split, some and all; what lies past their ends is NaN, and must not matter."""
    for heads, kv_heads, head_dim, options in (
        (8, 2, 64, AttentionOptions(0.3)),
        (4, 4, 80, AttentionOptions()),
        (6, 1, 16, AttentionOptions(0.3, window=140, softcap=2.0)),
    ):
        query = torch.randn(3, heads, head_dim)
        keys, values = torch.randn(2, 4, kv_heads, 300, head_dim)
        positions = torch.tensor([299, 0, 65], dtype=torch.int32)
        lengths = (positions + 1).tolist()
        attended = [
            attend_by_definition(query[row], keys[row, :, :length], values[row, :, :length], options)
            for row, length in enumerate(lengths)
        ]
        for row, length in enumerate(lengths):
            keys[row, :, length:] = values[row, :, length:] = torch.nan
        decode_attention.TOKENS_IN_SPLIT = 64
        for splits in (1, 3, 5):
            decode_attention._splits = lambda *_, splits=splits: splits
            found = decode_attention.attend_to_slots(query, keys, values, positions, options)
            yield f"{heads} heads over {kv_heads}, {splits} splits", relative_error(found, torch.stack(attended))


def attend_by_definition(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, options: AttentionOptions
) -> torch.Tensor:
    """query [heads, head_dim], keys and values [kv_heads, tokens, head_dim] -> [heads, head_dim] in float64."""
    group = query.shape[0] // keys.shape[0]
    first = max(0, keys.shape[1] - (options.window or keys.shape[1]))
    keys, values = (part[:, first:].double().repeat_interleave(group, 0) for part in (keys, values))
    scores = torch.einsum("hd,htd->ht", query.double(), keys) * (options.scaling or query.shape[1] ** -0.5)
    if options.softcap is not None:
        scores = options.softcap * (scores / options.softcap).tanh()
    return torch.einsum("ht,htd->hd", scores.softmax(-1), values)


def error_of_chunk() -> float:
    query, (keys, values) = torch.randn(5, 8, 16), torch.randn(2, 2, 12, 16)
    mask = torch.ones(5, 12, dtype=torch.bool).tril(diagonal=7)
    expected = functional.scaled_dot_product_attention(
        query.transpose(0, 1).double(), keys.double(), values.double(), attn_mask=mask, scale=0.25, enable_gqa=True
    )
    return relative_error(attend_chunk(query, keys, values, AttentionOptions(0.25)), expected.transpose(0, 1))


def greedy_choices() -> dict[str, Sequence[float]]:
    """Ties go to the first token, across the parts that a row is cut into; NaN is seen, and its token exists."""
    logits = torch.randn(4, 9000)
    logits[0, [77, 4500, 8999]] = 9.0
    logits[3, 5000] = torch.nan
    expected = logits.log_softmax(-1).max(-1)
    tokens, logprobs = choose_greedy(logits)
    tokens_of_nan, logprobs_of_nan = choose_greedy(torch.full((1, 100), torch.nan))
    return {
        "tokens": tokens[:3],
        "expected tokens": [77, *expected.indices[1:3].tolist()],
        "logprobs": logprobs[:3],
        "expected logprobs": expected.values[:3].tolist(),
        "tokens of NaN": tokens_of_nan,
        "logprobs of NaN": [logprobs[3], *logprobs_of_nan],
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    found = {
        "norm": error_of_norm(),
        "activations": dict(errors_of_activations()),
        "padding": numbers_that_padding_stores(),
        "decode attention": dict(errors_of_decode_attention()),
        "chunk": error_of_chunk(),
        "greedy": greedy_choices(),
        "decoders": {family: error_of_decoder(family) for family in FAMILIES},
        "engine": answers_of_engine(),
    }
    json.dump(found, sys.stdout)
