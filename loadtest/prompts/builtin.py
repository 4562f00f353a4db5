"""Texts that come with the load test."""

import re
from pathlib import Path
from random import Random

from loadtest.prompts.talk import Talk
from loadtest.scenario import Texts

TEXTS = Path(__file__).with_name("texts")
CODE_SEPARATOR = "%%\n"
DOCUMENTS = 64
SUMMARIZE = "Summarize the following text in two sentences."


def builtin_talks(texts: Texts, random: Random) -> list[Talk]:
    if texts == "chat":
        return [Talk((question, *random.sample(followups(), len(followups())))) for question in _lines("questions")]
    if texts == "code":
        return [Talk((snippet.rstrip("\n"),)) for snippet in _text("code").split(CODE_SEPARATOR)]
    return [Talk((f"{SUMMARIZE}\n\n{_shuffled_document(random)}",)) for _ in range(DOCUMENTS)]


def followups() -> list[str]:
    return _lines("followups")


def shuffled_words(texts: Texts, random: Random) -> list[str]:
    """Every word of the texts, each with the white space before it, in an order that reads like text."""
    pieces = _pieces(texts)
    random.shuffle(pieces)
    return re.findall(r"\s*\S+", "\n\n".join(pieces))


def _pieces(texts: Texts) -> list[str]:
    if texts == "chat":
        return _lines("questions") + followups()
    if texts == "code":
        return _text("code").split(CODE_SEPARATOR)
    return re.split(r"(?<=\.)\s+", _text("documents").strip())


def _shuffled_document(random: Random) -> str:
    paragraphs = _text("documents").strip().split("\n\n")
    return "\n\n".join(random.sample(paragraphs, len(paragraphs)))


def _lines(name: str) -> list[str]:
    return _text(name).splitlines()


def _text(name: str) -> str:
    return (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
