"""The gated activation of a feed-forward layer."""

import torch
import triton
import triton.language as tl

from tgi_autoround.engine.cuda.ops.ordering import await_previous_kernel, overlap

ACTIVATIONS = ("silu", "gelu", "gelu_tanh")
_BLOCK = 1024


def gated(gate_up: torch.Tensor, activation: str) -> torch.Tensor:
    """Return `activation(gate) * up` for gate_up [rows, 2 * width], the gate first: [rows, width].

    activation: one of ACTIVATIONS
    """
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    result = torch.empty(rows, width, dtype=gate_up.dtype, device=gate_up.device)
    _gated[(rows, triton.cdiv(width, _BLOCK))](gate_up, result, width, ACTIVATION=activation, BLOCK=_BLOCK, **overlap())
    return result


@triton.jit
def _gated(gate_up, result, width, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr, OVERLAPPED: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    await_previous_kernel(OVERLAPPED)
    gate = tl.load(gate_up + row * 2 * width + column, mask=inside)
    up = tl.load(gate_up + (row * 2 + 1) * width + column, mask=inside).to(tl.float32)
    activated = _activated(gate.to(tl.float32), ACTIVATION).to(gate.dtype).to(tl.float32)
    tl.store(result + row * width + column, (activated * up).to(gate.dtype), mask=inside)


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "silu":
        result = x * tl.sigmoid(x)
    elif ACTIVATION == "gelu":
        result = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    else:
        # tanh(z) = 2 * sigmoid(2z) - 1
        result = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    return result
