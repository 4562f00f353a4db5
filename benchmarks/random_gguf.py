#!/usr/bin/env python3
"""Write a random Llama in llama.cpp's Q4_0 with the shape and the tokenizer of a checkpoint. Needs gguf and numpy.

    python benchmarks/random_gguf.py CHECKPOINT OUT.gguf

Embeddings and the head are Q8_0, as llama.cpp's own converter leaves them at best. No token that is ever drawn ends a
text: the end-of-text token's row of the head is zero.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Q4_0, Q8_0 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
END_OF_TEXT = 1
CONTROL_TOKENS = 3
WEIGHT_STD = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    config = json.loads((options.checkpoint / "config.json").read_text("utf-8"))
    tokenizer = json.loads((options.checkpoint / "tokenizer.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(options.out, "llama")
    add_shape(writer, config)
    add_tokenizer(writer, tokenizer["model"])
    add_tensors(writer, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, model: dict[str, Any]) -> None:
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    types = [gguf.TokenType.CONTROL] * CONTROL_TOKENS + [gguf.TokenType.NORMAL] * (len(tokens) - CONTROL_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(END_OF_TEXT)
    writer.add_add_bos_token(False)


def add_tensors(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    ones = np.ones(hidden, np.float32)

    def normal(rows: int, columns: int) -> np.ndarray:
        return generator.standard_normal((rows, columns), dtype=np.float32) * WEIGHT_STD

    def add(name: str, weight: np.ndarray, kind: gguf.GGMLQuantizationType = Q4_0) -> None:
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)

    head = normal(config["vocab_size"], hidden)
    head[END_OF_TEXT] = 0
    add("token_embd", normal(config["vocab_size"], hidden), Q8_0)
    add("output", head, Q8_0)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(config["num_hidden_layers"]):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", ones)
        writer.add_tensor(f"{block}.ffn_norm.weight", ones)
        add(f"{block}.attn_q", normal(hidden, hidden))
        add(f"{block}.attn_k", normal(kv, hidden))
        add(f"{block}.attn_v", normal(kv, hidden))
        add(f"{block}.attn_output", normal(hidden, hidden))
        add(f"{block}.ffn_gate", normal(intermediate, hidden))
        add(f"{block}.ffn_up", normal(intermediate, hidden))
        add(f"{block}.ffn_down", normal(hidden, intermediate))


if __name__ == "__main__":
    main()
