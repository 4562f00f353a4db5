"""The four disjoint splits, and the files that hold them."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_model.chat import TURN_END, conversations, first_paragraph
from demo_model.documents import Document, all_documents

HELD_OUT_SHARE, VALIDATION_SHARE = 0.04, 0.02
CALIBRATION_SAMPLES, CALIBRATION_TOKENS = 160, 576
LONG_LINE = 30


@dataclass(frozen=True)
class Corpus:
    """Training text (documents and conversations), validation to choose by, held-out text to report on.

    Training and calibration texts end with the end-of-turn token, which is also the end of a document;
    validation and held-out texts are bare.
    """

    train: tuple[str, ...]
    calibration: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]

    def digest(self) -> str:
        """sha256 of the training split: which text a model learned."""
        return hashlib.sha256(json.dumps(self.train).encode()).hexdigest()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        return cls(**{split: tuple(texts) for split, texts in json.loads(path.read_text("utf-8")).items()})


@dataclass(frozen=True)
class _Seen:
    """What training text says; copies and near copies are common in the standard library."""

    text: str
    lines: frozenset[str]
    first_paragraphs: frozenset[str | None]

    def repeats(self, document: Document) -> bool:
        """Whether training text holds the document, half of its lines, or its first paragraph as an answer."""
        lines = _long_lines(document)
        answer = first_paragraph(document.text)
        return (
            2 * sum(line in self.lines for line in lines) > len(lines)
            or not lines
            or document.text in self.text
            or (answer is not None and answer in self.first_paragraphs)
        )


def build_corpus(seed: int) -> Corpus:
    """Splits by the hash of each text; conversations come from training documents only."""
    documents = all_documents()
    train = [document for document in documents if _split(document) == "train"]
    chats = conversations(train, seed)
    texts = [_closed(document) for document in train] + chats
    random.Random(seed).shuffle(texts)
    validation, held_out = _unseen(documents, train)
    return Corpus(tuple(texts), _calibration(train, chats, seed), validation, held_out)


def write_jsonl(path: Path, texts: Iterable[str]) -> None:
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    path.write_text("".join(lines), encoding="utf-8")


def calibration_samples(texts: Iterable[str], count_tokens: Callable[[str], int]) -> list[str]:
    """Joins texts to samples of at least `CALIBRATION_TOKENS` tokens: AutoRound drops what is shorter than seqlen."""
    samples, sample = [], ""
    for text in texts:
        sample += text
        if count_tokens(sample) >= CALIBRATION_TOKENS:
            samples.append(sample)
            sample = ""
        if len(samples) == CALIBRATION_SAMPLES:
            break
    return samples


def _calibration(train: Sequence[Document], chats: Sequence[str], seed: int) -> tuple[str, ...]:
    """No licence is among them: excerpts of licences may not be handed on, and these texts are."""
    shareable = [_closed(document) for document in train if document.kind != "licence"]
    texts = random.Random(seed).sample(shareable, len(shareable) // 2)
    texts += random.Random(seed).sample(chats, len(texts) // 2)
    random.Random(seed).shuffle(texts)
    return tuple(texts)


def _unseen(documents: Sequence[Document], train: Sequence[Document]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Validation and held-out texts, without those that training text holds in part or paraphrases in a chat."""
    seen = _Seen(
        "\n".join(document.text for document in train),
        frozenset(line for document in train for line in _long_lines(document)),
        frozenset(first_paragraph(document.text) for document in train),
    )
    kept: dict[str, list[str]] = {"validation": [], "held_out": []}
    for document in documents:
        if (split := _split(document)) != "train" and not seen.repeats(document):
            kept[split].append(document.text)
    return tuple(kept["validation"]), tuple(kept["held_out"])


def _split(document: Document) -> str:
    if document.kind == "licence":
        return "train"
    position = int.from_bytes(hashlib.sha256(document.text.encode()).digest()[:8], "big") / 2**64
    if position < HELD_OUT_SHARE:
        return "held_out"
    return "validation" if position < HELD_OUT_SHARE + VALIDATION_SHARE else "train"


def _long_lines(document: Document) -> list[str]:
    return [line.strip() for line in document.text.splitlines() if len(line.strip()) >= LONG_LINE]


def _closed(document: Document) -> str:
    return document.text + TURN_END
