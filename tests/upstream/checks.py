"""What is shown of the plugin in a real TGI server, as data."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A checkpoint of the coverage matrix, how TGI is asked to serve it, and the refusal that is expected, if any.

    quantize: `--quantize` of the shard; forced: as the launcher shim hands over an explicit `--quantize auto-round`;
    dtype: None where `--quantize` leaves TGI no choice; against_tgi: the reference is TGI itself on the decoded
    weights, for TGI's own code of the architecture strays from transformers'.
    """

    case: str
    world: int = 1
    quantize: str | None = None
    forced: bool = False
    dtype: str | None = "float16"
    refusal: str | None = None
    against_tgi: bool = False


def _llama() -> Iterator[Check]:
    for bits in (2, 3, 4, 8):
        yield Check(f"auto_round W{bits} sym g128")
    for form in ("auto_round:auto_gptq", "auto_round:auto_awq", "auto_round:gptqmodel"):
        yield Check(f"{form} W4 asym g128")
    yield Check("auto_round W4 sym g-1")
    yield Check("mixed bits, auto_round sym")
    yield Check("mixed bits, auto_round asym")
    yield Check("bias")
    yield Check("tied embeddings")
    yield Check("several shards")
    yield Check("352 inputs in groups of 128, auto_round W4 sym")
    yield Check("act-order g_idx", forced=True)
    yield Check("auto_round W4 sym g128", dtype="bfloat16")
    yield Check("auto_round W4 sym g128", quantize="auto-round")


def _exported_in_other_formats() -> Iterator[Check]:
    """config.json says gptq or awq: TGI's launcher adds that as `--quantize`, ours wins."""
    for form, method in (("auto_gptq", "gptq"), ("auto_awq", "awq")):
        for kind in ("sym", "asym"):
            yield Check(f"{form} W4 {kind} g128", quantize=method, forced=True, dtype=None)
    yield Check("auto_gptq W3 asym g32", quantize="gptq", forced=True, dtype=None)
    yield Check("auto_awq W4 sym g32", quantize="awq", forced=True)


def _two_shards() -> Iterator[Check]:
    yield Check("auto_round W4 sym g32", world=2)
    yield Check("auto_round W4 sym g128", world=2)  # 384 inputs of down_proj: each shard gets one group and a half
    yield Check("auto_round:auto_awq W4 asym g128", world=2)
    yield Check("auto_round:gptqmodel W3 asym g-1", world=2)
    yield Check("mixed bits, auto_round sym", world=2)
    yield Check("bias", world=2)
    yield Check("lm_head quantized", world=2)
    yield Check("phi3", world=2)
    yield Check("mixtral", world=2)
    yield Check("model-free, mixtral", world=2)


def _architectures() -> Iterator[Check]:
    yield Check("lm_head quantized")
    for family in ("mistral", "mixtral", "qwen2", "phi3", "gemma"):
        yield Check(family)
    yield Check("gptj", against_tgi=True)
    yield Check("opt", dtype=None)
    for family in ("qwen3", "qwen3_moe", "olmo2"):
        yield Check(family)  # on transformers' code
    yield Check("qwen3", world=2, refusal="served on one GPU")
    yield Check("qwen2_moe", refusal="which cannot load packed weights")
    yield Check("phi", refusal="grouped-query attention reads a floating-point weight")
    yield Check("gpt2", refusal="TGI transposes its weights")
    yield Check("gpt_neox", refusal="TGI reorders its packed q/k/v")
    yield Check("bloom", refusal="TGI reads its packed q/k/v by names of its own")
    yield Check("stablelm", refusal="which cannot load packed weights")
    yield Check("auto_round W4 sym g128", quantize="bitsandbytes", refusal="quantized by AutoRound already")


CHECKS = (*_llama(), *_exported_in_other_formats(), *_two_shards(), *_architectures())
