#!/usr/bin/env python3
"""Does a Gaudi compute AutoRound's layers right, and how fast? Prints a table, and JSON to paste into an issue.

    python3 hpu_selftest.py                 on one card or more, in a Gaudi image
    python3 hpu_selftest.py --device cpu    anywhere, the op emulated: proves this script and the arithmetic, no speed

The exit code is 1 when a check failed. docs/gaudi.md has the whole `docker run` line.
"""

import argparse
import copy
import json
import os
import platform
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme
from tgi_autoround.checkpoint.sharding import columns, rows
from tgi_autoround.kernels import ReferenceKernel, select
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.linear import QLinear

CPU, BF16 = torch.device("cpu"), torch.bfloat16
ROUNDING = {BF16: 2**-7, torch.float32: 2**-22}
"""Relative difference of a weight: cards may round between the subtraction and the product."""
HIGHEST_ZERO_POINT = {"packed": 15, "numbers": 16, "none": 0}
"""By how the op is given them."""
LINEAR_BOUND, LOGITS_BOUND = 1e-2, 5e-2
"""Relative L2 error against float32."""
FAILED = "FAILED"
RANKS = 2
RANKS_LIMIT_S = 600
LLAMA_8B = {"qkv_proj": (4096, 6144), "o_proj": (4096, 4096), "gate_up_proj": (4096, 28672), "down_proj": (14336, 4096)}
TOY = {"toy": (256, 384)}
COPIES, WARM_UP_CALLS, TIMED_CALLS = 8, 3, 20


@dataclass(frozen=True)
class Finding:
    """What a check found: ok, FAILED, skipped or measured."""

    check: str
    result: str
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)


def main() -> int:
    options = _options()
    device = torch.device(options.device)
    if options.rank is not None:
        _make_op_known(device)
        print(json.dumps([asdict(finding) for finding in shard_findings(device, options.rank)]))
        return 0
    # Processes of their own come first: a card belongs to one process at a time, and this one takes one later on.
    findings = list(_attempt(two_card_findings, device))
    _make_op_known(device)
    for check in (op_findings, linear_findings, model_findings, timing_findings):
        findings += _attempt(check, device)
    report = {"machine": machine(device), "findings": [asdict(finding) for finding in findings]}
    print(table(device, findings))
    print(f"\nPaste this into the issue:\n```json\n{json.dumps(report)}\n```")
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(finding.result == FAILED for finding in findings))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("hpu", "cpu"), default="hpu", help="cpu emulates the op (default: hpu)")
    parser.add_argument("--output", type=Path, help="write the JSON into this file too")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "hpu" and find_spec("habana_frameworks") is None:
        parser.error("Gaudi's software is not installed here; run this in a Gaudi image, or with --device cpu")
    return options


def _make_op_known(device: torch.device) -> None:
    if device.type == "hpu":
        import habana_frameworks.torch  # noqa: F401 - registers the device and its ops
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
        import hpu_emulation

        hpu_emulation.register()


def _attempt(check: Callable[[torch.device], Iterator[Finding]], device: torch.device) -> Iterator[Finding]:
    """The findings of a check, and its exception as one, because the checks after it matter too."""
    try:
        yield from check(device)
    except Exception as error:
        yield _failure(check.__name__.removesuffix("_findings"), error)


def _attempt_one(name: str, find: Callable[[str], Finding]) -> Finding:
    """One finding of a check, or its exception, because the others of the check matter too."""
    try:
        return find(name)
    except Exception as error:
        return _failure(name, error)


def _failure(name: str, error: Exception) -> Finding:
    traceback.print_exception(error)
    return Finding(name, FAILED, f"{type(error).__name__}: {error}")


def ok_if(passed: bool) -> str:
    return "ok" if passed else FAILED


def machine(device: torch.device) -> dict[str, Any]:
    facts = {
        "emulated": device.type == "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tgi-autoround": _version("tgi-autoround"),
        "PT_HPU_LAZY_MODE": os.environ.get("PT_HPU_LAZY_MODE"),
    }
    if device.type == "hpu":
        from habana_frameworks.torch import hpu

        facts |= {"card": hpu.get_device_name(), "habana-torch-plugin": _version("habana-torch-plugin")}
    return facts


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def table(device: torch.device, findings: list[Finding]) -> str:
    where = "a card" if device.type == "hpu" else "the CPU, the op emulated: arithmetic alone, no speed"
    width = max(len(finding.check) for finding in findings)
    lines = (f"{finding.check:{width}}  {finding.result:8}  {finding.sentence}" for finding in findings)
    return "\n".join([f"Gaudi self-test on {where}", *lines])


def op_findings(device: torch.device) -> Iterator[Finding]:
    """Every kind of call; half of the codes lie below their zero points."""
    for size in ((8, 8, 1), (48, 40, 3), (64, 64, 64), (256, 72, 8), (4096, 1024, 32)):
        for zeros in HIGHEST_ZERO_POINT:
            for dtype in (BF16, torch.float32):
                in_features, out_features, groups = size
                what = f"{in_features}x{out_features}, {groups} groups"
                name = f"op {what}, zero points {zeros}, {str(dtype).removeprefix('torch.')}"
                yield _attempt_one(name, partial(_op_finding, device, size, zeros, dtype))


def _op_finding(device: torch.device, size: tuple[int, int, int], zeros: str, dtype: torch.dtype, name: str) -> Finding:
    in_features, out_features, groups = size
    random = np.random.default_rng(0)
    codes = random.integers(0, 16, (in_features, out_features))
    zero_points = random.integers(0, HIGHEST_ZERO_POINT[zeros] + 1, (groups, out_features))
    scales = torch.from_numpy(random.standard_normal((groups, out_features))).to(dtype)
    given = {"packed": torch.from_numpy(pack_words(zero_points)), "numbers": torch.from_numpy(zero_points).to(dtype)}
    zeros_on_card = given[zeros].to(device) if zeros in given else None
    words_on_card = torch.from_numpy(pack_words(codes)).to(device)
    got = torch.ops.hpu.convert_from_uint4(words_on_card, scales.to(device), zeros_on_card, dtype).cpu()
    rows_of_group = in_features // groups
    steps = codes - np.repeat(zero_points, rows_of_group, axis=0)
    exact = steps * np.repeat(scales.double().numpy(), rows_of_group, axis=0)
    difference = relative_difference(got, torch.from_numpy(exact).to(dtype))
    sentence = f"largest relative difference {difference:.1e}" if difference else "bit for bit what the emulation gives"
    return Finding(name, ok_if(difference <= ROUNDING[dtype]), sentence, {"difference": difference})


def relative_difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest of any element, of those whose expected value is zero the largest itself."""
    scale = torch.where(expected == 0, 1, expected.abs()).double()
    return ((got.double() - expected.double()).abs() / scale).max().item()


def pack_words(codes: np.ndarray) -> np.ndarray:
    """Eight codes along the columns in a word, the first one lowest: [R, C] -> int32 [R, C/8]."""
    eights = codes.reshape(codes.shape[0], -1, 8).astype(np.uint32)
    words: np.ndarray = (eights << np.arange(0, 32, 4, dtype=np.uint32)).sum(axis=2, dtype=np.uint32).view(np.int32)
    return words


def linear_findings(device: torch.device) -> Iterator[Finding]:
    """Every width; a short last group, outputs that fill no word, and act-order."""
    for bits in range(2, 9):
        for sym in (True, False):
            weight = random_weight(bits, sym, 352, 76)
            name = f"linear W{bits} {'sym' if sym else 'asym'}"
            yield _attempt_one(name, partial(_linear_finding, weight, device, BF16))
    act_order = random_weight(4, False, 256, 64, act_order=True)
    yield _attempt_one("linear W4 asym, act-order", partial(_linear_finding, act_order, device, BF16))
    whole_groups = random_weight(4, False, 256, 64)
    yield _attempt_one("linear W4 asym, float32", partial(_linear_finding, whole_groups, device, torch.float32))


def _linear_finding(weight: NormalForm, device: torch.device, dtype: torch.dtype, name: str) -> Finding:
    x = random_input(weight.spec.in_features, 5).to(dtype)
    y = quantized_linear(weight, device, dtype)(x.to(device)).cpu()
    return _compared(name, y, reference(weight)(x.float()), LINEAR_BOUND)


def random_weight(bits: int, sym: bool, in_features: int, out_features: int, *, act_order: bool = False) -> NormalForm:
    """Groups of 128, a bias, and every code and zero point that the width has."""
    random = torch.Generator().manual_seed(bits)
    scheme = QuantScheme(bits, 128, sym, Packing.GPTQ_RAW)
    spec = LayerSpec(f"W{bits}", scheme, in_features, out_features, has_bias=True)
    zeros = torch.randint(0, 1 << bits, (spec.num_groups, out_features), generator=random)
    return NormalForm(
        spec,
        codes=torch.randint(0, 1 << bits, (in_features, out_features), generator=random, dtype=torch.uint8),
        zero_points=(torch.full_like(zeros, 1 << (bits - 1)) if sym else zeros).to(torch.int16),
        scales=(torch.randn(spec.num_groups, out_features, generator=random) * 0.02).half(),
        bias=torch.randn(out_features, generator=random).half(),
        input_order=torch.randperm(in_features, generator=random) if act_order else None,
    )


def random_input(in_features: int, tokens: int) -> torch.Tensor:
    return torch.randn(tokens, in_features, generator=torch.Generator().manual_seed(0))


def quantized_linear(weight: NormalForm, device: torch.device, dtype: torch.dtype = BF16) -> QLinear:
    kernels = (HpuUint4Kernel(device.type), HpuInt8Kernel(device.type))
    return QLinear(weight, select(weight.spec, device, dtype, kernels=kernels), device, dtype)


def reference(weight: NormalForm) -> QLinear:
    return QLinear(weight, ReferenceKernel(), CPU, torch.float32)


def _compared(check: str, got: torch.Tensor, expected: torch.Tensor, bound: float) -> Finding:
    error = ((got.double() - expected.double()).norm() / expected.double().norm()).item()
    return Finding(
        check, ok_if(error < bound), f"relative error {error:.1e}", {"relative_error": error, "bound": bound}
    )


def model_findings(device: torch.device) -> Iterator[Finding]:
    """A small random Llama whose linears are rounded to 4 bits: its logits, and the token it would choose."""
    tokens = torch.randint(0, 512, (1, 64), generator=torch.Generator().manual_seed(0))
    model, expected_model = (_tiny_llama(make) for make in (lambda w: quantized_linear(w, device), reference))
    with torch.no_grad():
        got = model.to(device, BF16)(tokens.to(device), use_cache=False).logits.cpu().float()
        expected = expected_model(tokens, use_cache=False).logits
    agreed = (got.argmax(-1) == expected.argmax(-1)).float().mean().item()
    yield _compared("tiny Llama, logits", got, expected, LOGITS_BOUND)
    yield Finding(
        "tiny Llama, tokens", ok_if(agreed > 0.9), f"{agreed:.0%} of the greedy choices agree", {"agreed": agreed}
    )


def _tiny_llama(make_linear: Callable[[NormalForm], nn.Module]) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 384, "vocab_size": 512, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model: nn.Module = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and ".layers." in name:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, make_linear(rounded(name, module.weight.detach())))
    return model


def rounded(name: str, weight: torch.Tensor) -> NormalForm:
    """A linear's weight [N, K], K a multiple of 128, in symmetric 4 bits."""
    spec = LayerSpec(name, QuantScheme(4, 128, True, Packing.GPTQ_RAW), weight.shape[1], weight.shape[0], False)
    groups = weight.t().reshape(spec.num_groups, 128, spec.out_features)
    scales = (groups.abs().amax(dim=1) / 7).half()
    codes = (groups / scales.float()[:, None]).round().clamp(-8, 7) + 8
    zero_points = torch.full(scales.shape, 8, dtype=torch.int16)
    return NormalForm(spec, codes.flatten(0, 1).to(torch.uint8), zero_points, scales)


def two_card_findings(device: torch.device) -> Iterator[Finding]:
    cards = card_count(device)
    if cards < RANKS:
        yield Finding("two cards", "skipped", f"{cards} card is visible; run with HABANA_VISIBLE_DEVICES=all on more")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [_start_rank(device, rank, port) for rank in range(RANKS)]
    try:
        outputs = [process.communicate(timeout=RANKS_LIMIT_S)[0] for process in processes]
    except subprocess.TimeoutExpired:
        yield Finding("two cards", FAILED, f"no result within {RANKS_LIMIT_S} s")
        return
    finally:
        for process in processes:
            process.kill()
    if any(process.returncode for process in processes):
        yield Finding("two cards", FAILED, "a process failed; its messages are above")
    else:
        yield from (Finding(**finding) for finding in json.loads(outputs[0].splitlines()[-1]))


def card_count(device: torch.device) -> int:
    """Asked of a process of its own, since asking may take a card."""
    if device.type == "cpu":
        return RANKS
    command = "from habana_frameworks.torch import hpu; print(hpu.device_count())"
    answer = subprocess.run([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True, check=True)
    return int(answer.stdout.splitlines()[-1])


def _start_rank(device: torch.device, rank: int, port: int) -> subprocess.Popen[str]:
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PT_HPU_ENABLE_LAZY_COLLECTIVES": "1",
    }
    command = [sys.executable, __file__, "--device", device.type, "--rank", str(rank)]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def shard_findings(device: torch.device, rank: int) -> Iterator[Finding]:
    """A layer by rows, which cut its 11 groups, and by columns: what both cards have together is the whole layer's."""
    if device.type == "hpu":
        import habana_frameworks.torch.distributed.hccl  # noqa: F401 - registers the backend
    distributed.init_process_group("hccl" if device.type == "hpu" else "gloo", rank=rank, world_size=RANKS)
    weight = random_weight(4, False, 1408, 96)
    x = random_input(1408, 5)
    expected = reference(weight)(x)
    part = slice(rank * 704, (rank + 1) * 704)
    summed = quantized_linear(rows(weight, part.start, part.stop), device)(x[:, part].to(device, BF16)).contiguous()
    settle(device)
    distributed.all_reduce(summed)
    yield _compared("two cards, split by inputs", summed.cpu(), expected, LINEAR_BOUND)
    own = quantized_linear(columns(weight, rank * 48, (rank + 1) * 48), device)(x.to(device, BF16)).contiguous()
    gathered = [torch.empty_like(own) for _ in range(RANKS)]
    settle(device)
    distributed.all_gather(gathered, own)
    yield _compared("two cards, split by outputs", torch.cat(gathered, dim=1).cpu(), expected, LINEAR_BOUND)
    distributed.destroy_process_group()


class SideBySide(nn.Module):
    """Copies of a layer, so many that none of them stays in the chip's own memory between two calls."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer, *(copy.deepcopy(layer) for _ in range(COPIES - 1))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([layer(x) for layer in self.layers]).sum(0)


@dataclass(frozen=True)
class Cost:
    """Of one layer: microseconds a call by batch size, bytes of its tensors, bytes that the card had less of."""

    us: dict[int, float]
    tensor_bytes: int
    card_bytes: int | None


def timing_findings(device: torch.device) -> Iterator[Finding]:
    """4 bits beside bfloat16, at the shapes of Llama 8B; toy sizes where the op is emulated."""
    shapes, batches = (LLAMA_8B, (1, 32, 1024)) if device.type == "hpu" else (TOY, (1, 4))
    for name, (in_features, out_features) in shapes.items():
        int4 = cost(quantized_linear(random_weight(4, True, in_features, out_features), device), batches, device)
        bf16 = cost(nn.Linear(in_features, out_features, dtype=BF16, device=device), batches, device)
        for batch in batches:
            sentence = f"int4 {int4.us[batch]:.1f} us, bf16 {bf16.us[batch]:.1f} us"
            us = {"int4_us": int4.us[batch], "bf16_us": bf16.us[batch]}
            yield Finding(f"time of {name}, {batch} tokens", "measured", sentence, us)
        sentence = f"int4 {int4.tensor_bytes / 1e6:.1f} MB, bf16 {bf16.tensor_bytes / 1e6:.1f} MB"
        on_card = {"int4_card_bytes": int4.card_bytes, "bf16_card_bytes": bf16.card_bytes}
        yield Finding(f"memory of {name}", "measured", sentence, on_card)


@torch.no_grad()
def cost(layer: QLinear | nn.Linear, batches: tuple[int, ...], device: torch.device) -> Cost:
    in_features = layer.in_features
    tensor_bytes = sum(tensor.nbytes for tensor in (*layer.parameters(), *layer.buffers()))
    before_bytes = card_bytes_in_use(device)
    module: nn.Module = SideBySide(layer)
    settle(device)
    card_bytes = (card_bytes_in_use(device) - before_bytes) // (COPIES - 1) if device.type == "hpu" else None
    if device.type == "hpu":
        from habana_frameworks.torch import hpu

        module = hpu.wrap_in_hpu_graph(module, disable_tensor_cache=True)
    us = {batch: _microseconds(module, random_input(in_features, batch).to(device, BF16)) for batch in batches}
    return Cost(us, tensor_bytes, card_bytes)


def _microseconds(module: nn.Module, x: torch.Tensor) -> float:
    for _ in range(WARM_UP_CALLS):
        module(x)
    settle(x.device)
    started_s = time.perf_counter()
    for _ in range(TIMED_CALLS):
        module(x)
    settle(x.device)
    return (time.perf_counter() - started_s) / TIMED_CALLS / COPIES * 1e6


def settle(device: torch.device) -> None:
    """Wait until a card has done all that it was given."""
    if device.type == "hpu":
        from habana_frameworks.torch import core, hpu

        core.mark_step()
        hpu.synchronize()


def card_bytes_in_use(device: torch.device) -> int:
    if device.type != "hpu":
        return 0
    from habana_frameworks.torch import hpu

    return int(hpu.memory_stats()["InUse"])


if __name__ == "__main__":
    sys.exit(main())
