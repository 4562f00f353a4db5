import numpy as np
import pytest

from tests.conftest import Quantized
from tests.decoder import decode_checkpoint
from tgi_autoround.checkpoint import Packing, open_checkpoint

DEFAULT_FILES = [(2, True), (3, True), (4, True), (8, True), (4, False)]


@pytest.mark.parametrize(("bits", "sym"), DEFAULT_FILES)
def test_auto_rounds_default_files_decode_bit_for_bit(quantized: Quantized, bits: int, sym: bool) -> None:
    model_dir = quantized(bits=bits, sym=sym)
    checkpoint, oracle = open_checkpoint(model_dir), decode_checkpoint(model_dir)
    assert set(checkpoint.quantized_layers) == set(oracle)
    assert len(oracle) == 14
    for name, expected in oracle.items():
        weight = checkpoint.load_layer(name)
        assert np.array_equal(weight.codes.numpy(), expected["codes"])
        assert np.array_equal(weight.zero_points.numpy(), expected["zero_points"])
        assert np.array_equal(weight.dequantize().numpy(), expected["weight"])


def test_four_bit_asym_is_written_in_awqs_packing(quantized: Quantized) -> None:
    layers = open_checkpoint(quantized(bits=4, sym=False)).quantized_layers.values()
    assert {layer.scheme.packing for layer in layers} == {Packing.AWQ}


def test_full_range_symmetric_scales_may_be_negative(quantized: Quantized) -> None:
    checkpoint = open_checkpoint(quantized(bits=4))
    assert any((checkpoint.load_layer(name).scales < 0).any() for name in checkpoint.quantized_layers)


def test_plain_tensors_are_those_of_no_quantized_layer(quantized: Quantized) -> None:
    plain = set(open_checkpoint(quantized(bits=4)).plain_tensors)
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= plain
    assert not any(name.endswith(("qweight", "qzeros", "scales")) for name in plain)
