#!/usr/bin/env python3
"""Trains the demo model from scratch on Python's documentation strings and Debian's licence texts.

    python scripts/make_demo_model.py --output assets/demo-model

Writes an fp16 Llama checkpoint with tokenizer and chat template, calibration.jsonl and heldout.jsonl, and
training.json with the figures of the model card. Minutes on a GPU, hours on a CPU.
"""

import argparse
import dataclasses
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch
import transformers
from demo_model.chat import CHAT_TEMPLATE, TURN_END, TURN_START
from demo_model.corpus import Corpus, build_corpus, calibration_samples, write_jsonl
from demo_model.perplexity import Score, score
from demo_model.training import CONTEXT_TOKENS, Recipe, new_model, train
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

TEXT_START = "<|endoftext|>"
RECIPE = Recipe(
    vocab_size=2048,
    hidden=256,
    intermediate=768,
    layers=7,
    heads=4,
    kv_heads=2,
    head_dim=64,
    dropout=0.2,
    weight_decay=0.6,
    steps=3500,
)


def main() -> None:
    options = _options()
    torch.set_float32_matmul_precision("high")
    corpus = Corpus.load(options.corpus) if options.corpus else build_corpus(options.seed)
    if options.save_corpus:
        corpus.save(options.save_corpus)
        return
    print(f"corpus {corpus.digest()[:16]}: {len(corpus.train)} texts", flush=True)
    recipe = dataclasses.replace(RECIPE, steps=options.steps)
    trained = _train(recipe, corpus, options.seed, _device(options.device))
    trained.save(options.output, corpus)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("assets/demo-model"))
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="a file of --save-corpus, instead of this machine's text")
    parser.add_argument("--save-corpus", type=Path, help="write the corpus and stop, to train on another machine")
    return parser.parse_args()


def _device(choice: str) -> torch.device:
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model with everything the card reports about it."""

    recipe: Recipe
    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    validation_bits_per_byte: float
    train_tokens: int
    wall_s: float
    seed: int

    def save(self, output: Path, corpus: Corpus) -> None:
        """Writes the whole directory; the held-out figures are those of the fp16 weights that are saved."""
        output.mkdir(parents=True, exist_ok=True)
        device = self.model.device
        self.model.half().save_pretrained(output)
        (output / "model.safetensors").chmod(0o644)
        _write_config(output)
        _write_tokenizer(output, self.tokenizer)
        samples = calibration_samples(corpus.calibration, lambda text: len(self.tokenizer(text)["input_ids"]))
        write_jsonl(output / "calibration.jsonl", samples)
        write_jsonl(output / "heldout.jsonl", corpus.held_out)
        held_out = score(self.model.float(), self.tokenizer, corpus.held_out)
        figures = self._figures(corpus, held_out, device)
        (output / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps(figures, indent=2), flush=True)
        _print_samples(self.model, self.tokenizer)

    def _figures(self, corpus: Corpus, held_out: Score, device: torch.device) -> dict[str, object]:
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "held_out": dataclasses.asdict(held_out),
            "validation_bits_per_byte": self.validation_bits_per_byte,
            "train_tokens": self.train_tokens,
            "epochs": self.recipe.steps * self.recipe.batch_tokens / self.train_tokens,
            "train_wall_s": self.wall_s,
            "seed": self.seed,
            "train_sha256": corpus.digest(),
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__,
            },
        }


def _train(recipe: Recipe, corpus: Corpus, seed: int, device: torch.device) -> Trained:
    torch.manual_seed(seed)
    tokenizer = _train_tokenizer(corpus.train, recipe.vocab_size)
    documents = tokenizer(list(corpus.train))["input_ids"]
    train_tokens = sum(map(len, documents))
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    model = new_model(recipe, bos, eos, tokenizer.pad_token_id).to(device).train()
    print(f"{model.num_parameters() / 1e6:.2f} M parameters, {train_tokens} tokens", flush=True)

    def validation() -> float:
        return score(model, tokenizer, corpus.validation).bits_per_byte

    started = time.monotonic()
    best = train(model, recipe, documents, seed, validation)
    return Trained(recipe, model, tokenizer, best, train_tokens, time.monotonic() - started, seed)


def _train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any bytes can be encoded, and decoding gives them back."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[TEXT_START, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=TEXT_START,
        eos_token=TURN_END,
        pad_token=TEXT_START,
        clean_up_tokenization_spaces=False,
    )


def _write_tokenizer(output: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Written by hand: transformers 5 names a class and a template file that transformers 4 may not know."""
    tokenizer.backend_tokenizer.save(str(output / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT_TOKENS,
        "chat_template": CHAT_TEMPLATE,
    }
    (output / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _write_config(output: Path) -> None:
    """Adds the keys that transformers 4 reads to those that transformers 5 wrote."""
    path = output / "config.json"
    config = json.loads(path.read_text())
    config.setdefault("rope_theta", config["rope_parameters"]["rope_theta"])
    config["torch_dtype"] = "float16"
    path.write_text(json.dumps(config, indent=2) + "\n")


def _print_samples(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    questions = ("What does json.dumps do?", "What does len do?", "What is itertools?", "Who are you?", "Hello!")
    for prompt in ("Return the ", "This class ", "The try statement ", *map(chat.format, questions)):
        inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
        output = model.generate(**inputs, max_new_tokens=80, do_sample=False)[0]
        print(repr(tokenizer.decode(output)), flush=True)


if __name__ == "__main__":
    main()
