"""What is shown of the plugin in a real tgi-gaudi 2.0 server, as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Check:
    """A checkpoint of the coverage matrix, how the server is started, and the refusal that is expected, if any.

    serve: options of `text-generation-server serve`, without dashes; against_upstream: the reference is the server
    itself on the decoded weights, for optimum-habana's code of the architecture strays from transformers'.
    """

    case: str
    serve: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None
    against_upstream: bool = False


def _llama() -> Iterator[Check]:
    for bits in (2, 3, 4, 8):
        yield Check(f"auto_round W{bits} sym g128")
        yield Check(f"auto_round:gptqmodel W{bits} asym g32")
    yield Check("auto_round:auto_awq W4 asym g128")
    yield Check("auto_round W4 sym g-1")
    yield Check("auto_gptq W4 asym g128", serve=("quantize=auto-round",))
    yield Check("act-order g_idx", serve=("quantize=auto-round",))
    yield Check("352 inputs in groups of 128, auto_round W4 sym")
    yield Check("mixed bits, auto_round sym")
    yield Check("lm_head quantized")
    yield Check("tied embeddings")
    yield Check("bias")
    yield Check("several shards")


def _options() -> Iterator[Check]:
    flash = {"USE_FLASH_ATTENTION": "true", "FLASH_ATTENTION_RECOMPUTE": "true", "LIMIT_HPU_GRAPH": "true"}
    yield Check("auto_round W4 sym g128", environment=flash)
    yield Check("auto_round W4 sym g128", environment={"ENABLE_HPU_GRAPH": "false"})


def _architectures() -> Iterator[Check]:
    for family in ("mistral", "qwen2", "mixtral", "gemma", "starcoder2", "gptj", "gpt_neox", "stablelm"):
        yield Check(family)
    for family in ("falcon", "bloom", "gpt2", "mpt", "codegen"):
        yield Check(family)
    yield Check("opt", against_upstream=True)


def _refusals() -> Iterator[Check]:
    yield Check("auto_round W4 sym g128", serve=("sharded",), refusal="leave --sharded and --num-shard away")
    yield Check("auto_round W4 sym g128", serve=("dtype=float16",), refusal="turns --dtype float16 into float32")
    yield Check("auto_round W4 sym g128", serve=("quantize=eetq",), refusal="quantized by AutoRound already")
    yield Check("auto_round W4 sym g128", environment={"QUANT_CONFIG": "fp8.json"}, refusal="QUANT_CONFIG asks for FP8")
    yield Check("qwen3", refusal="qwen3")


CHECKS = (*_llama(), *_options(), *_architectures(), *_refusals())
