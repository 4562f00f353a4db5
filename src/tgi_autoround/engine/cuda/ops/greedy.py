"""The largest logit of each row and its log-probability, so that a step gives the host two numbers a sequence."""

import functools

import torch
import triton
import triton.language as tl

from tgi_autoround.engine.cuda.ops.ordering import await_previous_kernel, is_last_to_arrive, overlap

_BLOCK = 4096


def choose_greedy(logits: torch.Tensor) -> tuple[list[int], list[float]]:
    """Return the first largest token of each row of [rows, vocabulary] and its natural log-probability.

    A row that holds NaN gets a log-probability that is NaN. Waits for the device.
    """
    found = torch.empty(2, logits.shape[0], dtype=torch.int32, device=logits.device)
    choose_on_device(logits, found[0], found[1].view(torch.float32))
    on_host = found.cpu()
    return on_host[0].tolist(), on_host[1].view(torch.float32).tolist()


def choose_on_device(
    logits: torch.Tensor, tokens: torch.Tensor, logprobs: torch.Tensor, positions: torch.Tensor | None = None
) -> None:
    """Write each row's token, int32, and its log-probability, float32; move on positions, int32, that are not -1.

    Whatever the logits are, tokens are in the vocabulary.
    """
    rows, vocabulary = logits.shape
    parts = triton.cdiv(vocabulary, _BLOCK)
    best, best_tokens, sums, arrivals = _workspace(logits.device, rows, parts)
    _choose_greedy[(rows, parts)](
        logits,
        best,
        best_tokens,
        sums,
        arrivals,
        tokens,
        logprobs,
        positions,
        vocabulary,
        BLOCK=_BLOCK,
        PARTS_BLOCK=triton.next_power_of_2(parts),
        num_warps=8,
        **overlap(),
    )


def _workspace(
    device: torch.device, rows: int, parts: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return room for each part's largest logit, its token and its sum, and counters of a row's arrivals."""
    return _kept(device, int(triton.next_power_of_2(rows)), parts)


@functools.cache
def _kept(device: torch.device, rows: int, parts: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Captured graphs hold the addresses, so that what was once made stays; batches of about a size share it."""
    best, sums = torch.empty(2, rows, parts, dtype=torch.float32, device=device)
    best_tokens = torch.empty(rows, parts, dtype=torch.int32, device=device)
    return best, best_tokens, sums, torch.zeros(rows, dtype=torch.int32, device=device)


@triton.jit(do_not_specialize_on_alignment=["tokens", "logprobs", "positions"])
def _choose_greedy(
    logits,
    best,
    best_tokens,
    sums,
    arrivals,
    tokens,
    logprobs,
    positions,
    vocabulary,
    BLOCK: tl.constexpr,
    PARTS_BLOCK: tl.constexpr,
    OVERLAPPED: tl.constexpr,
):
    """Grid: (rows, parts of BLOCK tokens)."""
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    token = part * BLOCK + tl.arange(0, BLOCK)
    await_previous_kernel(OVERLAPPED)
    x = tl.load(logits + row * vocabulary + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32)
    largest = tl.max(x)
    tl.store(best + row * parts + part, largest)
    tl.store(best_tokens + row * parts + part, tl.min(tl.where(x == largest, token, vocabulary)))
    tl.store(sums + row * parts + part, tl.sum(tl.exp(x - largest)))
    if is_last_to_arrive(arrivals + row, parts):
        each = tl.arange(0, PARTS_BLOCK)
        at, inside = row * parts + each, each < parts
        of_parts = tl.load(best + at, mask=inside, other=float("-inf"), cache_modifier=".cg")
        largest = tl.max(of_parts)
        candidates = tl.load(best_tokens + at, mask=inside, other=0, cache_modifier=".cg")
        total = tl.sum(tl.exp(of_parts - largest) * tl.load(sums + at, mask=inside, other=0.0, cache_modifier=".cg"))
        chosen = tl.min(tl.where(of_parts == largest, candidates, vocabulary))
        tl.store(tokens + row, tl.minimum(chosen, vocabulary - 1))
        tl.store(logprobs + row, -tl.log(total))
        if positions is not None:
            position = tl.load(positions + row)
            tl.store(positions + row, tl.where(position < 0, position, position + 1))
