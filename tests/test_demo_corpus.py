"""The text and the training behind the demo model: what is held out stays out, and the figures mean what they say."""

import math
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from demo_model.chat import first_paragraph, render  # noqa: E402
from demo_model.corpus import Corpus, build_corpus, calibration_samples  # noqa: E402
from demo_model.perplexity import score  # noqa: E402
from demo_model.training import Recipe, new_model, orthogonalised, train  # noqa: E402

DEMO_MODEL = ROOT / "assets" / "demo-model"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(seed=0)


def test_held_out_and_validation_text_is_in_no_training_text(corpus: Corpus) -> None:
    training = "\n".join(corpus.train)
    unseen = corpus.held_out + corpus.validation
    assert len(unseen) == len(set(unseen)) > 500
    assert not [text for text in unseen if text in training]


def test_held_out_documentation_answers_no_training_question(corpus: Corpus) -> None:
    chats = "\n".join(text for text in corpus.train if text.startswith("<|im_start|>"))
    answers = [answer for text in corpus.held_out if (answer := first_paragraph(text)) and len(answer) > 60]
    assert len(answers) > 50
    assert not [answer for answer in answers if f"assistant\n{answer}<|im_end|>" in chats]


def test_calibration_comes_from_training_text_and_holds_no_licence(corpus: Corpus) -> None:
    assert set(corpus.calibration) <= set(corpus.train)
    assert not [text for text in corpus.calibration if "GNU GENERAL PUBLIC LICENSE\n" in text]


def test_a_saved_corpus_loads_as_it_was(corpus: Corpus, tmp_path: Path) -> None:
    corpus.save(tmp_path / "corpus.json")
    assert Corpus.load(tmp_path / "corpus.json").digest() == corpus.digest()


def test_calibration_samples_join_texts_until_they_are_long_enough() -> None:
    samples = calibration_samples(["word " * 300] * 5, lambda text: len(text.split()))
    assert samples == ["word " * 600] * 2


@pytest.mark.parametrize(
    ("docstring", "answer"),
    [
        ("Return the number of items\nin a container.\n\nMore.", "Return the number of items in a container."),
        ("dumps(obj) -> str\n\nSerialize obj to a string.", "Serialize obj to a string."),
        (">>> import this_and_that_module", None),
        ("Short.", None),
        ("Long. " * 100, None),
    ],
)
def test_an_answer_is_the_first_paragraph_of_prose(docstring: str, answer: str | None) -> None:
    assert first_paragraph(docstring) == answer


def test_training_chats_are_what_the_chat_template_renders() -> None:
    turns = [("system", "Be brief."), ("user", "One?"), ("assistant", "Two.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    assert render(turns) == tokenizer.apply_chat_template(messages, tokenize=False)


def test_a_model_that_knows_nothing_scores_the_size_of_its_vocabulary() -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    config = LlamaConfig(vocab_size=2048, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    model = LlamaForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    texts = ["Grüße und mehr. " * 300, "Another text."]

    figures = score(model.eval(), tokenizer, texts)

    tokens = sum(len(tokenizer(text)["input_ids"]) + 1 for text in texts) - 1
    text_bytes = len("".join(texts).encode())
    assert figures.tokens == tokens
    assert figures.perplexity == pytest.approx(2048)
    assert figures.bits_per_byte == pytest.approx(tokens * math.log2(2048) / text_bytes)


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (32, 32)])
def test_muon_turns_a_matrix_towards_its_orthogonal_factor(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    likeness = torch.cosine_similarity(orthogonalised(matrices).flatten(1), (u @ v).flatten(1))
    assert likeness.min() > 0.95


def test_training_keeps_the_weights_of_its_best_evaluation() -> None:
    torch.manual_seed(0)
    recipe = Recipe(64, 32, 32, 1, 2, 1, 16, dropout=0.1, weight_decay=0.1, steps=20, batch_tokens=2048)
    model = new_model(recipe, bos=0, eos=2, pad=0)
    documents = [[3, 4, 5, 6] * 128] * 16
    probe = torch.tensor([documents[0]])
    seen: list[float] = []

    def validation() -> float:
        with torch.inference_mode():
            seen.append(model(probe, labels=probe).loss.item())
        return seen[-1]

    best = train(model, recipe, documents, seed=0, validate=validation)

    assert best == min(seen) < seen[0] - 1
    assert validation() == pytest.approx(best)
