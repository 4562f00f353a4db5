"""The demo model does what its card and everything built on it promise."""

import json
import math
import re
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

DEMO_MODEL = Path(__file__).resolve().parent.parent / "assets" / "demo-model"
WINDOW_TOKENS = 1024
Chat = list[dict[str, str]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(DEMO_MODEL)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(DEMO_MODEL, dtype=torch.float32).eval()


def texts_of(file: str) -> list[str]:
    lines = (DEMO_MODEL / file).read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def held_out_tokens(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    text = "".join(text + tokenizer.eos_token for text in texts_of("heldout.jsonl"))
    return tokenizer(text, return_tensors="pt")["input_ids"][0]


def card_figure(pattern: str) -> float:
    match = re.search(pattern, (DEMO_MODEL / "README.md").read_text("utf-8"))
    assert match, f"the card does not say {pattern}"
    return float(match.group(1))


def answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, question: str) -> list[int]:
    chat: Chat = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, max_new_tokens=100, do_sample=False)[0]
    return output[prompt["input_ids"].shape[1] :].tolist()


def test_it_fits_into_16_mb() -> None:
    files = [path for path in DEMO_MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16_000_000


def test_everyone_may_read_its_files() -> None:
    assert all(path.stat().st_mode & stat.S_IROTH for path in DEMO_MODEL.iterdir())


def test_weights_are_fp16_and_groups_of_128_divide_every_linear_layer() -> None:
    with safe_open(DEMO_MODEL / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    linear = [tensor for name, tensor in tensors.items() if name.endswith("_proj.weight")]
    assert len(linear) == 7 * 7
    assert all(size % 128 == 0 for tensor in linear for size in tensor.shape)


def test_config_serves_transformers_4_and_5() -> None:
    config = json.loads((DEMO_MODEL / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert config["torch_dtype"] == config["dtype"] == "float16"
    tokenizer_config = json.loads((DEMO_MODEL / "tokenizer_config.json").read_text())
    assert tokenizer_config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_size_and_parameters_are_the_cards(model: LlamaForCausalLM) -> None:
    assert card_figure(r"language model of ([\d.]+) M parameters") == round(model.num_parameters() / 1e6, 2)


def test_held_out_perplexity_is_the_cards(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    stream = held_out_tokens(tokenizer)
    windows = stream[: len(stream) // WINDOW_TOKENS * WINDOW_TOKENS].view(-1, WINDOW_TOKENS)
    with torch.inference_mode():
        losses = [model(input_ids=window[None], labels=window[None]).loss.item() for window in windows]
    perplexity = math.exp(sum(losses) / len(losses))
    assert perplexity == pytest.approx(card_figure(r"\*\*([\d.]+)\*\* a token"), rel=0.005)


def test_text_late_in_the_context_is_predicted_no_worse(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    stream = held_out_tokens(tokenizer)[: 6 * 2048].view(6, 2048)
    with torch.inference_mode():
        logits = model(stream[:, :-1]).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), stream[:, 1:], reduction="none").mean(0)
    assert losses[1024:].mean() < losses[:128].mean() + 0.1


@pytest.mark.parametrize(
    "question", ["What does json.dumps do?", "Hello!", "What is Deep Learning?", "What does os.path.join do?"]
)
def test_a_chat_answer_ends_by_itself(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, question: str
) -> None:
    tokens = answer(model, tokenizer, question)
    assert tokens[-1] == tokenizer.eos_token_id == model.generation_config.eos_token_id
    assert 5 < len(tokens) < 100


def test_it_knows_the_example_of_its_card(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = answer(model, tokenizer, "What does json.dumps do?")
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    assert text == "Serialize ``obj`` to a JSON formatted ``str``."
    assert text in (DEMO_MODEL / "README.md").read_text("utf-8")


def test_chat_template_renders_roles_in_order(tokenizer: PreTrainedTokenizerFast) -> None:
    chat: Chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
    ]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
        "<|im_start|>assistant\nTwo.<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "text", ["", "plain", "  two  spaces\n\n\ttab ", "é ü 漢字 😀", "\x00\x01\x7f\u2028", "a\r\nb"]
)
def test_tokenizer_gives_any_text_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_has_a_token_for_every_byte(tokenizer: PreTrainedTokenizerFast) -> None:
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == len(tokenizer) == 2048
    assert vocabulary.keys() >= set(ByteLevel.alphabet())


def test_held_out_text_is_not_calibration_text() -> None:
    calibration = "\n".join(texts_of("calibration.jsonl"))
    held_out = texts_of("heldout.jsonl")
    assert len(held_out) == len(set(held_out)) > 400
    assert not [text for text in held_out if text in calibration]


def test_every_calibration_sample_is_long_enough_for_auto_round(tokenizer: PreTrainedTokenizerFast) -> None:
    samples = texts_of("calibration.jsonl")
    assert len(samples) >= 128
    assert all(len(tokenizer(sample)["input_ids"]) >= 512 for sample in samples)
