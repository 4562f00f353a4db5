import pytest

from tgi_autoround.checkpoint import Packing, QuantScheme
from tgi_autoround.checkpoint.config import parse_quant_config
from tgi_autoround.errors import CheckpointError, UnsupportedError

W4 = {
    "quant_method": "auto-round",
    "packing_format": "auto_round:auto_gptq",
    "bits": 4,
    "group_size": 128,
    "sym": True,
    "data_type": "int",
    "block_name_to_quantize": "model.layers",
}


def test_the_config_of_auto_round_is_read() -> None:
    config = parse_quant_config(W4)
    assert config.default == QuantScheme(bits=4, group_size=128, sym=True, packing=Packing.GPTQ)


def test_an_exact_name_wins_over_a_regex_and_both_over_the_default() -> None:
    config = parse_quant_config({**W4, "extra_config": {".*q_proj.*": {"bits": 2}, "a.0.q_proj": {"bits": 8}}})
    bits = [config.scheme_of(name).bits for name in ("a.0.q_proj", "a.1.q_proj", "a.1.k_proj")]  # type: ignore[union-attr]
    assert bits == [8, 2, 4]


def test_an_override_of_16_bits_means_floating_point() -> None:
    config = parse_quant_config({**W4, "extra_config": {"lm_head": {"bits": 16, "data_type": "fp"}}})
    assert config.scheme_of("lm_head") is None


def test_only_linears_of_the_named_blocks_are_covered() -> None:
    config = parse_quant_config(W4)
    assert config.covers("model.layers.0.mlp.up_proj")
    assert not config.covers("vision.layers.0.mlp.up_proj")


def test_without_block_names_numbered_blocks_are_covered() -> None:
    config = parse_quant_config({name: W4[name] for name in W4 if name != "block_name_to_quantize"})
    assert config.covers("transformer.h.0.attn")
    assert not config.covers("lm_head")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"quant_method": "bitsandbytes"}, UnsupportedError, "quant_method is 'bitsandbytes'"),
        ({"packing_format": "auto_round:fp8"}, UnsupportedError, "packing_format is 'auto_round:fp8'"),
        ({"packing_format": None}, UnsupportedError, "packing_format is None"),
        ({"bits": 5}, UnsupportedError, "bits is 5"),
        ({"bits": "4"}, UnsupportedError, "bits is '4'"),
        ({"data_type": "mx_fp"}, UnsupportedError, "data_type is 'mx_fp'"),
        ({"act_bits": 8}, UnsupportedError, "act_bits is 8"),
        ({"group_size": 0}, CheckpointError, "group_size is 0"),
        ({"group_size": "128"}, CheckpointError, "group_size is '128'"),
        ({"sym": None}, CheckpointError, "sym is None"),
        ({"packing_format": "auto_round:auto_awq", "bits": 8}, UnsupportedError, "bits is 8; packing awq"),
        ({"extra_config": []}, CheckpointError, "extra_config is \\[\\]"),
        ({"block_name_to_quantize": [1]}, CheckpointError, "block_name_to_quantize"),
        ({"extra_config": {"a(": {"bits": 8}}}, CheckpointError, "neither a layer name nor a regular expression"),
        ({"extra_config": {"a": 8}}, CheckpointError, "must be an object"),
    ],
)
def test_what_cannot_be_served_exactly_is_refused_by_field_and_value(
    change: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        parse_quant_config({**W4, **change})


@pytest.mark.parametrize(
    ("spelling", "packing"),
    [
        ("auto_round", Packing.GPTQ_RAW),
        ("auto_round:gptqmodel", Packing.GPTQ_RAW),
        ("auto_round:exllamav2", Packing.GPTQ_RAW),
        ("autoround:triton", Packing.GPTQ_RAW),
        ("auto_round:auto_gptq", Packing.GPTQ),
        ("auto_round:gptq", Packing.GPTQ),
        ("auto_round:gptq:exllamav2", Packing.GPTQ),
        ("gptq:exllamav2", Packing.GPTQ),
        ("auto_gptq:marlin", Packing.GPTQ),
        ("auto_round:auto_awq", Packing.AWQ),
        ("auto_round:awq:gemm", Packing.AWQ),
    ],
)
def test_every_spelling_of_a_format_names_its_packing(spelling: str, packing: Packing) -> None:
    old = {name: W4[name] for name in W4 if name != "packing_format"}
    assert parse_quant_config({**W4, "packing_format": spelling}).default.packing is packing
    config = parse_quant_config({**old, "quant_method": "intel/auto-round", "backend": spelling})
    assert config.default.packing is packing


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


def test_a_gptq_export_is_read_with_its_dynamic_rules_in_order() -> None:
    dynamic = {r"+:.*\.0\.mlp": {"bits": 8}, r"-:.*\.mlp\.gate$": {}, r".*\.mlp": {"group_size": 32}}
    config = parse_quant_config({**GPTQ, "dynamic": dynamic})
    assert config.scheme_of("model.layers.0.mlp.gate") == QuantScheme(8, 128, True, Packing.GPTQ)
    assert config.scheme_of("model.layers.1.mlp.gate") is None
    assert config.scheme_of("model.layers.1.mlp.up") == QuantScheme(4, 32, True, Packing.GPTQ)
    assert config.scheme_of("model.layers.1.attn") == config.default


def test_gptq_v2_stores_true_zero_points() -> None:
    assert parse_quant_config({**GPTQ, "checkpoint_format": "gptq_v2"}).default.packing is Packing.GPTQ_RAW
    assert parse_quant_config({**GPTQ, "format": "gptq_v2"}).default.packing is Packing.GPTQ_RAW
    assert parse_quant_config({**GPTQ, "checkpoint_format": "gptq"}).default.packing is Packing.GPTQ


def test_gptqs_lm_head_is_quantized_only_where_the_config_says_so() -> None:
    assert parse_quant_config(GPTQ).scheme_of("lm_head") is None
    assert parse_quant_config({**GPTQ, "lm_head": True}).scheme_of("lm_head") is not None


def test_modules_in_block_to_quantize_leaves_out_all_others() -> None:
    modules = [["self_attn.q_proj", "self_attn.k_proj"], ["mlp.up_proj"]]
    config = parse_quant_config({**GPTQ, "modules_in_block_to_quantize": modules})
    assert config.scheme_of("model.layers.0.self_attn.k_proj") == config.default
    assert config.scheme_of("model.layers.0.mlp.gate_up_proj") is None


def test_an_awq_export_is_read_with_whole_components_of_names_left_out() -> None:
    config = parse_quant_config({**AWQ, "modules_to_not_convert": ["lm_head", "gate"]})
    assert config.default == QuantScheme(4, 128, False, Packing.AWQ)
    assert config.scheme_of("lm_head") is None
    assert config.scheme_of("model.layers.0.mlp.gate") is None
    assert config.scheme_of("model.layers.0.mlp.gate_proj") == config.default


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({**GPTQ, "checkpoint_format": "marlin"}, "checkpoint_format is 'marlin'"),
        ({**GPTQ, "checkpoint_format": ["gptq"]}, "checkpoint_format"),
        ({**GPTQ, "dynamic": {"+:(": {}}}, "neither a layer name nor a regular expression"),
        ({**AWQ, "version": "gemv"}, "version is 'gemv'"),
        ({**AWQ, "zero_point": 1}, "zero_point is 1"),
        ([], "must be an object"),
    ],
)
def test_other_methods_refuse_by_field_and_value_too(raw: object, words: str) -> None:
    with pytest.raises((CheckpointError, UnsupportedError), match=words):
        parse_quant_config(raw)
