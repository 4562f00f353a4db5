"""Whether TGI's fused layer takes a model's experts: it multiplies each token by its own experts only.

Where it does not, TGI's DenseMoELayer multiplies every token by every expert: as right, and slower.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace

import torch

from tgi_autoround.checkpoint import Checkpoint, LayerSpec
from tgi_autoround.checkpoint.sharding import row_shard_spec
from tgi_autoround.names import PROJECTION_OF
from tgi_autoround.tgi.log import tell_once
from tgi_autoround.tgi.marlin import MarlinKernel

DTYPE = torch.float16
"""The only one that the fused layer computes in: layers/moe/gptq_marlin.py:304, 3.3.7."""

DEFAULT_DTYPES = {
    "mixtral": torch.float16,
    "phimoe": torch.float16,
    "deepseek_v2": torch.bfloat16,
}
"""Architectures whose experts TGI fuses where it can, and what it runs them in: models/__init__.py, 3.3.7."""

_EXPERT = re.compile(r"\.experts\.\d+\.(?P<projection>\w+)$")
_WEIGHT = ".weight"


def is_expert(layer: str) -> bool:
    """Return whether a layer belongs to an expert that tokens are routed to."""
    return _EXPERT.search(layer) is not None


def are_fused(checkpoint: Checkpoint) -> bool:
    """Return whether this shard's experts go into TGI's fused layer; if not, TGI's log says why."""
    if checkpoint.config.get("model_type") not in DEFAULT_DTYPES or not torch.cuda.is_available():
        return False
    reason = _reason_against(checkpoint, ranks=int(os.environ.get("WORLD_SIZE", "1")))
    if reason is not None:
        tell_once(f"auto-round: every expert multiplies every token, without TGI's fused Marlin layer: {reason}")
    return reason is None


def expert_layers(checkpoint: Checkpoint) -> list[LayerSpec]:
    """Return the specs of all quantized layers of experts."""
    return [spec for layer, spec in checkpoint.quantized_layers.items() if is_expert(layer)]


def _reason_against(checkpoint: Checkpoint, ranks: int) -> str | None:
    return (
        _reason_against_model(checkpoint)
        or _reason_against_shapes(checkpoint, ranks)
        or _reason_against_order(checkpoint)
        or _reason_against_server()
    )


def _reason_against_model(checkpoint: Checkpoint) -> str | None:
    model_type = checkpoint.config["model_type"]
    if DEFAULT_DTYPES[model_type] is not DTYPE:
        return f"it computes in float16, and TGI runs {model_type} in bfloat16"
    plain = (name.removesuffix(_WEIGHT) for name in checkpoint.plain_tensors if name.endswith(_WEIGHT))
    unquantized = next(filter(is_expert, plain), None)
    if unquantized is not None:
        return f"{unquantized} is not quantized"
    specs = expert_layers(checkpoint)
    if len({spec.scheme for spec in specs}) != 1:
        return "it takes experts of one width and one group size"
    biased = next((spec.name for spec in specs if spec.has_bias), None)
    return f"{biased} has a bias" if biased else None


def _reason_against_shapes(checkpoint: Checkpoint, ranks: int) -> str | None:
    kinds = {replace(spec, name=_projection(spec)): spec for spec in expert_layers(checkpoint)}
    for spec in kinds.values():
        if (spec.in_features if _is_down(spec) else spec.out_features) % ranks:
            return f"{spec.name} does not split over {ranks} shards"
        for shard in _shards(spec, ranks):
            reason = MarlinKernel().supports(shard, torch.device("cuda"), DTYPE)
            if reason is not None:
                return f"{shard.name}, {shard}: {reason}"
    return None


def _shards(spec: LayerSpec, ranks: int) -> Iterator[LayerSpec]:
    """Every rank's part, as the fused layer has it: down_proj by its inputs, gate and up as one by their outputs."""
    if not _is_down(spec):
        yield replace(spec, out_features=2 * spec.out_features // ranks)
    elif ranks == 1:
        yield spec
    else:
        size = spec.in_features // ranks
        for rank in range(ranks):
            yield row_shard_spec(spec, rank * size, (rank + 1) * size)


def _is_down(spec: LayerSpec) -> bool:
    return _projection(spec) == "down_proj"


def _projection(spec: LayerSpec) -> str:
    name = spec.name.rpartition(".")[2]
    return PROJECTION_OF.get(name, name)


def _reason_against_order(checkpoint: Checkpoint) -> str | None:
    """Files in GPTQ's format say in g_idx whether groups are scattered, whatever config.json says."""
    for spec in expert_layers(checkpoint):
        name = f"{spec.name}.g_idx"
        if name in checkpoint.tensors:
            consecutive = torch.arange(spec.in_features, dtype=torch.int32) // spec.group_size
            if not torch.equal(checkpoint.read_tensor(name), consecutive):
                return f"{spec.name} has act-order"
    return None


def _reason_against_server() -> str | None:
    try:
        from text_generation_server.layers.moe.gptq_marlin import can_use_marlin_moe_gemm
    except (ImportError, FileNotFoundError) as missing:
        return f"this TGI does not hold it ({missing})"
    if not can_use_marlin_moe_gemm(quant_method="gptq", quantize="gptq", sym=True):
        return "TGI does not use it on this machine"
    return None
