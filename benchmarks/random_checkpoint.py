#!/usr/bin/env python3
"""Write random Llama checkpoints in AutoRound's W4 g128 format, for benchmarks where the shape is all that matters.

    python benchmarks/random_checkpoint.py 66m OUT
    python benchmarks/random_checkpoint.py 1b OUT

The packed words are drawn directly, so that nothing is quantized. The tokenizer is the demo model's; its vocabulary is
filled up with words that no text is encoded to, so that every id decodes. No token ends a text.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig

DEMO = Path(__file__).resolve().parent.parent / "assets" / "demo-model"
BITS, GROUP_SIZE = 4, 128
STORED_ZEROS = 0x77777777
WEIGHT_STD = 0.02
CODE_STD = 4.6
"""Of integers drawn evenly from -8 to 7."""
LAYERS_IN_SHARD = 8
NULL_SHAPES = {"vocabulary of 2048": "null-2k", "vocabulary of 32000": "null-32k"}
"""One layer that costs nothing, for measuring what surrounds a model."""
NULL_SIZES = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
SHAPES = {
    "null-2k": {**NULL_SIZES, "vocab_size": 2048},
    "null-32k": {**NULL_SIZES, "vocab_size": 32000},
    "66m": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 10,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "vocab_size": 2048,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    write_checkpoint(options.shape, options.out)


def write_checkpoint(shape: str, out: Path) -> Path:
    """Write the checkpoint and its tokenizer into `out`; the same shape always gets the same weights."""
    out.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=None,
        architectures=["LlamaForCausalLM"],
        dtype="float16",
        quantization_config={
            "quant_method": "auto-round",
            "packing_format": "auto_round:auto_gptq",
            "bits": BITS,
            "group_size": GROUP_SIZE,
            "sym": True,
            "data_type": "int",
            "block_name_to_quantize": "model.layers",
        },
        **SHAPES[shape],
    )
    config.save_pretrained(out)
    write_tokenizer(out, config.vocab_size)
    generator = torch.Generator().manual_seed(0)
    weight_map = {}
    for index, tensors in enumerate(_shards(config, generator)):
        file = f"model-{index:05}.safetensors"
        save_file(tensors, out / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, file))
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return out


def write_tokenizer(out: Path, vocab_size: int) -> None:
    """The demo model's, its vocabulary filled up to `vocab_size`."""
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(out)
    path = out / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    for token_id in range(len(vocabulary), vocab_size):
        vocabulary[f"Ġword{token_id}"] = token_id
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")


def _shards(config: LlamaConfig, generator: torch.Generator) -> Iterator[dict[str, torch.Tensor]]:
    for start in range(0, config.num_hidden_layers, LAYERS_IN_SHARD):
        layers = range(start, min(start + LAYERS_IN_SHARD, config.num_hidden_layers))
        yield {name: tensor for layer in layers for name, tensor in _layer(config, layer, generator).items()}
    matrix = (config.vocab_size, config.hidden_size)
    yield {
        "model.embed_tokens.weight": _normal(matrix, generator),
        "lm_head.weight": _normal(matrix, generator),
        "model.norm.weight": torch.ones(config.hidden_size, dtype=torch.float16),
    }


def _layer(config: LlamaConfig, index: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    hidden, intermediate = config.hidden_size, config.intermediate_size
    heads, kv = (count * config.head_dim for count in (config.num_attention_heads, config.num_key_value_heads))
    widths = {
        "self_attn.q_proj": (hidden, heads),
        "self_attn.k_proj": (hidden, kv),
        "self_attn.v_proj": (hidden, kv),
        "self_attn.o_proj": (heads, hidden),
        "mlp.gate_proj": (hidden, intermediate),
        "mlp.up_proj": (hidden, intermediate),
        "mlp.down_proj": (intermediate, hidden),
    }
    tensors = {
        f"model.layers.{index}.{norm}.weight": torch.ones(hidden, dtype=torch.float16)
        for norm in ("input_layernorm", "post_attention_layernorm")
    }
    for name, (inputs, outputs) in widths.items():
        tensors |= {
            f"model.layers.{index}.{name}.{part}": tensor for part, tensor in _packed(inputs, outputs, generator)
        }
    return tensors


def _packed(inputs: int, outputs: int, generator: torch.Generator) -> Iterator[tuple[str, torch.Tensor]]:
    words, groups = inputs * BITS // 32, inputs // GROUP_SIZE
    codes = torch.randint(-(2**31), 2**31, (words, outputs), dtype=torch.int64, generator=generator)
    yield "qweight", codes.to(torch.int32)
    yield "qzeros", torch.full((groups, outputs * BITS // 32), STORED_ZEROS, dtype=torch.int32)
    yield "scales", torch.full((groups, outputs), WEIGHT_STD / CODE_STD, dtype=torch.float16)


def _normal(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    return (torch.randn(shape, generator=generator) * WEIGHT_STD).half()


if __name__ == "__main__":
    main()
