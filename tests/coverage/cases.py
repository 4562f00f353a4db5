"""Every combination that AutoRound writes, and files made by hand, as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.coverage.families import FAMILIES

W8_ASYM = {"AR_ALLOW_W8_ASYM": "1"}
MIXTRAL_LOADS = {"AR_DISABLE_META_LOAD": "1"}
"""auto-round 0.16.1 cannot materialize Mixtral's fused experts of transformers 5.23 otherwise."""
STREAM_FORMATS = ("auto_round", "auto_round:auto_gptq", "auto_round:gptqmodel", "auto_gptq")
AWQ_FORMATS = ("auto_round:auto_awq", "auto_awq")
GROUP_SIZES = (32, 128, -1)
FAST_GRID = {
    *((form, bits, True, 128) for form in ("auto_round",) for bits in (2, 3, 4, 8)),
    *(("auto_round:gptqmodel", bits, False, 32) for bits in (2, 3, 4, 8)),
    ("auto_round:auto_awq", 4, False, 128),
    ("auto_gptq", 4, False, -1),
    ("auto_awq", 4, True, 32),
}
MIXED = {
    "model.layers.0.self_attn.q_proj": {"bits": 8},
    "model.layers.0.self_attn.k_proj": {"bits": 2, "group_size": 64},
    "model.layers.1.mlp.down_proj": {"bits": 16},
    "mlp.gate_proj": {"bits": 3},
}
"""Exact names and, as auto-round writes a part of a name, a regex."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What auto-round is asked for. `options` are AutoRound's own arguments."""

    bits: int = 4
    sym: bool = True
    group_size: int = 128
    form: str = "auto_round"
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    max_shard_size: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A model, how it is quantized (None: by the edit alone) and what is changed in the file by hand.

    model: a key of `families.MODELS`; edit: a function of `edits`, with its arguments; fast: run always.
    """

    name: str
    topic: str
    model: str = "llama"
    recipe: Recipe | None = field(default_factory=Recipe)
    edit: str | None = None
    arguments: tuple[Any, ...] = ()
    fast: bool = False


def _grid() -> Iterator[Case]:
    combinations = [
        *((form, bits, sym) for form in STREAM_FORMATS for bits in (2, 3, 4, 8) for sym in (True, False)),
        *((form, 4, sym) for form in AWQ_FORMATS for sym in (True, False)),
    ]
    for form, bits, sym in combinations:
        for group_size in GROUP_SIZES:
            environment = W8_ASYM if bits == 8 and not sym else {}
            yield Case(
                f"{form} W{bits} {'sym' if sym else 'asym'} g{group_size}",
                "grid",
                recipe=Recipe(bits, sym, group_size, form, environment=environment),
                fast=(form, bits, sym, group_size) in FAST_GRID,
            )


def _auto_round_specials() -> Iterator[Case]:
    raw_2_bit = Recipe(2, False, 32)
    yield Case("group 16", "special", recipe=Recipe(group_size=16))
    yield Case("group 64", "special", recipe=Recipe(group_size=64))
    yield Case("group 256, of 256 and of 384 inputs", "special", recipe=Recipe(group_size=256))
    for form in STREAM_FORMATS:
        recipe = Recipe(form=form, options={"layer_config": MIXED})
        yield Case(f"mixed bits, {form} sym", "special", recipe=recipe, fast=form in ("auto_round", "auto_gptq"))
    yield Case("mixed bits, auto_round asym", "special", recipe=Recipe(3, False, 32, options={"layer_config": MIXED}))
    only_16 = {"layer_config": {"mlp.up_proj": {"bits": 16}}}
    for form in (*AWQ_FORMATS, "auto_gptq"):
        yield Case(f"layers in floating point, {form}", "special", recipe=Recipe(form=form, options=only_16))
    yield Case(
        "lm_head quantized", "special", recipe=Recipe(options={"quant_lm_head": True, "low_cpu_mem_usage": False})
    )
    yield Case("lm_head claimed, stored in floating point", "special", recipe=Recipe(options={"quant_lm_head": True}))
    yield Case("tied embeddings", "special", "llama tied")
    yield Case("tied embeddings, lm_head asked for", "special", "llama tied", Recipe(options={"quant_lm_head": True}))
    yield Case("bias", "special", "llama bias", fast=True)
    yield Case("bias, asym 2 bits", "special", "llama bias", raw_2_bit)
    yield Case("bias, AWQ packing", "special", "llama bias", Recipe(sym=False))
    yield Case("bfloat16 source", "special", "llama bfloat16")
    for recipe in (Recipe(), Recipe(2, False), Recipe(3, True), Recipe(8, True), Recipe(form="auto_gptq", sym=False)):
        name = f"352 inputs in groups of 128, {recipe.form} W{recipe.bits} {'sym' if recipe.sym else 'asym'}"
        yield Case(name, "special", "llama 352", recipe, fast=recipe == Recipe())
    model_free: dict[str, Any] = {"disable_model_free": False}
    yield Case("written by auto-round's model-free path", "special", recipe=Recipe(options=model_free))
    with_head = Recipe(options={**model_free, "quant_lm_head": True})
    yield Case("model-free, lm_head quantized", "special", recipe=with_head)
    yield Case("model-free, mixtral", "special", "tiny mixtral", Recipe(group_size=32, options=model_free))
    yield Case("344 inputs, no multiple of 32", "special", "llama 344")
    yield Case("several shards", "special", recipe=Recipe(max_shard_size="300KB"), fast=True)
    for family in ("mixtral", "qwen2_moe", "qwen3_moe"):
        recipe = replace(raw_2_bit, environment=MIXTRAL_LOADS)
        yield Case(f"experts, {family} asym 2 bits", "special", f"tiny {family}", recipe)
    yield Case("experts, qwen3_moe, AWQ packing", "special", "tiny qwen3_moe", Recipe(sym=False, group_size=32))


def _hand_made() -> Iterator[Case]:
    raw = Recipe(sym=False, group_size=32, form="auto_round:gptqmodel")
    gptq = Recipe(form="auto_gptq", group_size=32)
    old = {"quant_method": "intel/auto-round", "packing_format": None}
    configs = {
        f"intel/auto-round, backend {backend}": (Recipe(), {**old, "backend": backend})
        for backend in ("auto_round:gptq:exllamav2", "gptq:exllamav2")
    } | {
        "intel/auto-round, backend auto_round:exllamav2": (raw, {**old, "backend": "auto_round:exllamav2"}),
        "auto_round with packing_format auto_round:gptq": (
            Recipe(),
            {"quant_method": "auto_round", "packing_format": "auto_round:gptq"},
        ),
        "packing_format auto_round:awq": (Recipe(sym=False), {"packing_format": "auto_round:awq"}),
        "gptq_v2": (raw, {"quant_method": "gptq", "checkpoint_format": "gptq_v2", "packing_format": None}),
        "gptq with modules_in_block_to_quantize": (
            replace(gptq, options={"layer_config": {"mlp.up_proj": {"bits": 16}}}),
            {"dynamic": None, "modules_in_block_to_quantize": [["self_attn.q_proj", "self_attn.k_proj"],
             ["self_attn.v_proj"], ["self_attn.o_proj"], ["mlp.gate_proj"], ["mlp.down_proj"]]},
        ),
    }  # fmt: skip
    for name, (recipe, fields) in configs.items():
        yield Case(name, "hand-made", recipe=recipe, edit="config_says", arguments=(fields,), fast=True)
    yield Case("act-order g_idx", "hand-made", recipe=gptq, edit="shuffle_groups", fast=True)
    yield Case(
        "act-order g_idx, 352 inputs in groups of 128", "hand-made", "llama 352", Recipe(form="auto_gptq"),
        edit="shuffle_groups",
    )  # fmt: skip
    for bits in (5, 6, 7):
        yield Case(
            f"raw zero points, {bits} bits", "hand-made", recipe=raw, edit="random_codes", arguments=(bits,), fast=True
        )
    for bits in (2, 3, 4, 8):
        recipe = Recipe(bits, False, 32, "auto_gptq", environment=W8_ASYM)
        yield Case(f"GPTQ zero points of {1 << bits}", "hand-made", recipe=recipe, edit="highest_zero_points")


def _families() -> Iterator[Case]:
    for family in FAMILIES:
        recipe = Recipe(group_size=32, environment=MIXTRAL_LOADS)
        if family == "falcon":
            yield Case(family, "family", f"tiny {family}", None, edit="pack_linears", arguments=("transformer.h",))
        else:
            yield Case(family, "family", f"tiny {family}", recipe, fast=family in ("mixtral", "gpt2"))


CASES = (*_grid(), *_auto_round_specials(), *_hand_made(), *_families())
