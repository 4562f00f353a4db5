"""Small random models for tests: a Llama with a byte-level BPE tokenizer and a chat template of its own."""

import functools
import pydoc_data.topics
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] + ': ' + message['content'] + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


@functools.cache
def english_text() -> str:
    """About 450 kB of prose that every CPython has: the language reference behind `help()`."""
    return "\n".join(pydoc_data.topics.topics.values())


@functools.cache
def _byte_level_bpe(vocab_size: int) -> str:
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNK, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([english_text()], trainer)
    return str(tokenizer.to_str())


def make_tokenizer(path: Path, *, vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Write a tokenizer that can encode and decode any text into `path`, and return it."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_level_bpe(vocab_size)),
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(path)
    return tokenizer


def make_llama(
    path: Path,
    *,
    hidden: int = 256,
    intermediate: int = 384,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    vocab_size: int = 1024,
    max_positions: int = 2048,
    tie: bool = False,
    bias: bool = False,
    dtype: torch.dtype = torch.float16,
    init_std: float = 0.02,
    rope_parameters: dict[str, object] | None = None,
    seed: int = 0,
) -> Path:
    """Write a random Llama and its tokenizer into `path` and return `path`.

    A larger `init_std` gives logits that stand further apart, for tests that compare greedy choices.
    """
    make_tokenizer(path, vocab_size=vocab_size)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=tie,
        attention_bias=bias,
        initializer_range=init_std,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        rope_parameters=rope_parameters or {"rope_type": "default", "rope_theta": 10_000.0},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.to(dtype).save_pretrained(path)
    return path
