"""Calibration text from every kind of source becomes full samples."""

import json
from pathlib import Path

import pytest

from tests.models import make_tokenizer
from tgi_autoround.errors import ConfigError, QuantizeError
from tgi_autoround.quantize.data import DatasetSource, calibration_tokens, parse_dataset

TEXTS = ["one two three", "four five six", "seven eight nine"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def write(path: Path, content: str) -> DatasetSource:
    path.write_text(content, encoding="utf-8")
    return DatasetSource(str(path))


def test_the_old_readmes_combination_is_understood() -> None:
    assert parse_dataset("./tmp.json,NeelNanda/pile-10k:train, mbpp:train+validation+test") == (
        DatasetSource("./tmp.json"),
        DatasetSource("NeelNanda/pile-10k", ("train",)),
        DatasetSource("mbpp", ("train", "validation", "test")),
    )


@pytest.mark.parametrize("text", ["mbpp:", ":train", "mbpp:train++test"])
def test_a_malformed_combination_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME:SPLIT"):
        parse_dataset(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "\n\n".join(TEXTS)),
        ("a.json", json.dumps(TEXTS)),
        ("a.json", json.dumps([{"text": text, "source": "s"} for text in TEXTS])),
        ("a.json", json.dumps(dict(enumerate(TEXTS)))),
        ("a.jsonl", "\n".join(json.dumps({"content": text}) for text in TEXTS) + "\n\n"),
        ("a.jsonl", "\n".join(json.dumps(text) for text in TEXTS)),
    ],
)
def test_every_local_form_gives_its_text(tmp_path: Path, tokenizer: object, name: str, content: str) -> None:
    source = write(tmp_path / name, content)
    tokens = calibration_tokens([source], tokenizer, nsamples=1, seqlen_tokens=8, seed=0)
    decoded = tokenizer.decode(tokens[0])
    assert any(text[:8] in decoded for text in TEXTS)


def test_short_texts_are_joined_with_the_end_of_text_token_between(tmp_path: Path, tokenizer: object) -> None:
    source = write(tmp_path / "a.json", json.dumps(TEXTS))
    lengths = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    tokens = calibration_tokens([source], tokenizer, nsamples=1, seqlen_tokens=sum(lengths) + 3, seed=0)
    parts = tokenizer.decode(tokens[0]).split(tokenizer.eos_token)
    assert sorted(parts) == sorted([*TEXTS, ""])


def test_samples_depend_on_the_seed_and_on_nothing_else(calibration_file: Path, tokenizer: object) -> None:
    source = DatasetSource(str(calibration_file))
    first, again, other = (
        calibration_tokens([source], tokenizer, nsamples=4, seqlen_tokens=64, seed=seed) for seed in (1, 1, 2)
    )
    assert first.shape == (4, 64)
    assert first.equal(again)
    assert not first.equal(other)


def test_every_source_of_a_combination_is_drawn_from(tmp_path: Path, tokenizer: object) -> None:
    sources = [
        write(tmp_path / "a.jsonl", "\n".join([json.dumps("apple " * 9)] * 50)),
        write(tmp_path / "b.jsonl", "\n".join([json.dumps("banana " * 9)] * 50)),
    ]
    decoded = tokenizer.decode(calibration_tokens(sources, tokenizer, nsamples=8, seqlen_tokens=64, seed=0).flatten())
    assert "apple" in decoded
    assert "banana" in decoded


def test_too_little_text_is_refused_with_what_there_is(tmp_path: Path, tokenizer: object) -> None:
    source = write(tmp_path / "a.json", json.dumps(TEXTS))
    with pytest.raises(QuantizeError, match=r"enough for \d samples of 8, not 64"):
        calibration_tokens([source], tokenizer, nsamples=64, seqlen_tokens=8, seed=0)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", "[1, 2]", "neither a string nor an object"),
        ("a.json", '[{"prompt": "a", "answer": "b"}]', "found: prompt, answer"),
        ("a.jsonl", '{"text": ', "is not valid jsonl"),
        ("a.json", "[]", "there is no text in it"),
    ],
)
def test_files_that_hold_no_text_are_refused(
    tmp_path: Path, tokenizer: object, name: str, content: str, reason: str
) -> None:
    with pytest.raises(QuantizeError, match=reason):
        calibration_tokens([write(tmp_path / name, content)], tokenizer, nsamples=1, seqlen_tokens=1, seed=0)
