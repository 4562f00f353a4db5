"""The quality benchmark scores what the files say."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Quantized
from tests.decoder import decode_checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from quality import Row, decoded_model, markdown_table


def test_the_scored_model_holds_the_weights_of_the_files(quantized: Quantized, tiny_llama: Path) -> None:
    checkpoint_dir = quantized(bits=4)
    weights = decoded_model(checkpoint_dir, tiny_llama).state_dict()
    decoded = decode_checkpoint(checkpoint_dir)
    plain = {name: tensor for name, tensor in load_file(checkpoint_dir / "model.safetensors").items() if "norm" in name}
    assert len(decoded) == 2 * 7
    for name, layer in decoded.items():
        np.testing.assert_array_equal(weights[f"{name}.weight"].numpy(), layer["weight"])
    for name, tensor in plain.items():
        assert torch.equal(weights[name], tensor.float())


def test_a_checkpoint_that_lacks_a_tensor_is_not_scored(quantized: Quantized, tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(quantized(bits=4), tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(SystemExit, match=r"lacks \['model\.norm\.weight'\]"):
        decoded_model(tmp_path, tiny_llama)


def test_the_table_compares_each_row_with_the_unquantized_model() -> None:
    rows = [
        Row("fp16", 16, perplexity=20.0, bits_per_byte=1.5, size_bytes=12_000_000),
        Row("W4", 4, perplexity=21.0, bits_per_byte=1.52, size_bytes=4_000_000, group_size=128, quantize_cpu_s=99.6),
    ]
    assert markdown_table(rows).splitlines()[2:] == [
        "| fp16 | 20.00 |  | 1.500 | 12.00 MB |  |",
        "| W4 | 21.00 | +5.0 % | 1.520 | 4.00 MB | 100 s |",
    ]
