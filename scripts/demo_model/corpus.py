"""The four disjoint splits, and the files that hold them."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from demo_model.chat import TURN_END, conversations
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
        """sha256 over all splits: which text a model was trained on."""
        return hashlib.sha256(json.dumps(vars(self)).encode()).hexdigest()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        return cls(**{split: tuple(texts) for split, texts in json.loads(path.read_text("utf-8")).items()})


def build_corpus(seed: int) -> Corpus:
    """Splits by the hash of each text; conversations come from training documents only.

    Licences are training text only: they may be handed on verbatim and whole, not as excerpts in a data file.
    """
    documents = all_documents()
    train = [document for document in documents if _split(document) == "train"]
    seen_lines = {line for document in train for line in _long_lines(document)}
    kept: dict[str, list[str]] = {"validation": [], "held_out": []}
    for document in documents:
        if (split := _split(document)) != "train" and not _repeats(document, seen_lines):
            kept[split].append(document.text)
    chats = conversations(train, seed)
    texts = [_closed(document) for document in train] + chats
    shareable = [_closed(document) for document in train if document.kind != "licence"]
    random.Random(seed).shuffle(texts)
    calibration = random.Random(seed).sample(shareable, len(shareable) // 2)
    calibration += random.Random(seed).sample(chats, len(calibration) // 2)
    random.Random(seed).shuffle(calibration)
    return Corpus(tuple(texts), tuple(calibration), tuple(kept["validation"]), tuple(kept["held_out"]))


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


def _split(document: Document) -> str:
    if document.kind == "licence":
        return "train"
    position = int.from_bytes(hashlib.sha256(document.text.encode()).digest()[:8], "big") / 2**64
    if position < HELD_OUT_SHARE:
        return "held_out"
    return "validation" if position < HELD_OUT_SHARE + VALIDATION_SHARE else "train"


def _long_lines(document: Document) -> list[str]:
    return [line.strip() for line in document.text.splitlines() if len(line.strip()) >= LONG_LINE]


def _repeats(document: Document, seen_lines: set[str]) -> bool:
    """Whether training text holds half of the document's lines: copies are common in the standard library."""
    lines = _long_lines(document)
    return not lines or 2 * sum(line in seen_lines for line in lines) > len(lines)


def _closed(document: Document) -> str:
    return document.text + TURN_END
