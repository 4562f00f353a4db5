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
        ({"packing_format": "auto_round"}, UnsupportedError, "packing_format is 'auto_round'"),
        ({"packing_format": None}, UnsupportedError, "packing_format is None"),
        ({"bits": 5}, UnsupportedError, "bits is 5"),
        ({"bits": "4"}, UnsupportedError, "bits is '4'"),
        ({"data_type": "mx_fp"}, UnsupportedError, "data_type is 'mx_fp'"),
        ({"act_bits": 8}, UnsupportedError, "act_bits is 8"),
        ({"group_size": 0}, CheckpointError, "group_size is 0"),
        ({"group_size": "128"}, CheckpointError, "group_size is '128'"),
        ({"sym": None}, CheckpointError, "sym is None"),
        ({"packing_format": "auto_round:auto_awq", "bits": 8}, CheckpointError, "AWQ packing holds 4-bit"),
        ({"extra_config": {"a(": {"bits": 8}}}, CheckpointError, "neither a layer name nor a regular expression"),
        ({"extra_config": {"a": 8}}, CheckpointError, "must be an object"),
    ],
)
def test_what_cannot_be_served_exactly_is_refused_by_field_and_value(
    change: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        parse_quant_config({**W4, **change})
