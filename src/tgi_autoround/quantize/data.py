"""Calibration text -> blocks of token ids, each exactly as long as asked.

auto-round drops every sample shorter than the sequence length, and ends the process where none remains. So texts are
tokenized and laid end to end here, and cut into full sequences.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgi_autoround.errors import ConfigError, QuantizeError
from tgi_autoround.quantize import hub

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

LOCAL_SUFFIXES = (".json", ".jsonl", ".txt")
DEFAULT_SPLITS = ("train",)
TEXT_FIELD = "text"


@dataclass(frozen=True)
class DatasetSource:
    """One of a combination: a local file, or splits of a data set on the hub."""

    name: str
    splits: tuple[str, ...] = DEFAULT_SPLITS

    @property
    def is_local(self) -> bool:
        return self.name.endswith(LOCAL_SUFFIXES)


def parse_dataset(text: str) -> tuple[DatasetSource, ...]:
    """Return the sources of e.g. `./tmp.json,NeelNanda/pile-10k:train, mbpp:train+validation+test`."""
    sources = tuple(_parse_source(part.strip()) for part in text.split(",") if part.strip())
    if not sources:
        raise ConfigError(f"--dataset {text!r} names no data set")
    return sources


def calibration_tokens(
    sources: Sequence[DatasetSource],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    nsamples: int,
    seqlen_tokens: int,
    seed: int,
) -> "torch.Tensor":
    """Return token ids of calibration text: int64 [nsamples, seqlen_tokens], the same for the same arguments.

    Raises QuantizeError where a source cannot be read or all of them hold less than that many tokens.
    """
    import torch

    texts = [text for source in sources for text in _read_texts(source)]
    random.Random(seed).shuffle(texts)
    wanted = nsamples * seqlen_tokens
    ids = _tokens(texts, tokenizer, wanted)
    if len(ids) < wanted:
        raise QuantizeError(
            f"too little calibration data: {', '.join(source.name for source in sources)} gives {len(ids)} tokens, "
            f"enough for {len(ids) // seqlen_tokens} samples of {seqlen_tokens}, not {nsamples}; "
            "give more text, or lower --nsamples or --seqlen"
        )
    return torch.tensor(ids[:wanted], dtype=torch.int64).view(nsamples, seqlen_tokens)


def _tokens(texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase", wanted: int) -> list[int]:
    """Tokenize texts, an end-of-text token between them, until there are as many tokens as wanted."""
    separator = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    ids: list[int] = []
    for text in texts:
        # verbose=False: a text longer than the model's context is fine here, since it is cut afterwards.
        ids += tokenizer(text, verbose=False)["input_ids"]
        ids += separator
        if len(ids) >= wanted:
            break
    return ids


def _parse_source(text: str) -> DatasetSource:
    name, colon, splits = text.rpartition(":")
    if not colon or text.endswith(LOCAL_SUFFIXES):
        return DatasetSource(text)
    parts = tuple(split.strip() for split in splits.split("+"))
    if not name or not all(parts):
        raise ConfigError(f"--dataset: {text!r} is no NAME or NAME:SPLIT+SPLIT")
    return DatasetSource(name, parts)


def _read_texts(source: DatasetSource) -> list[str]:
    records = _local_records(Path(source.name)) if source.is_local else _hub_records(source)
    texts = [text for text in (_text_of(record, source.name) for record in records) if text.strip()]
    if not texts:
        raise QuantizeError(f"calibration data {source.name}: there is no text in it")
    return texts


def _local_records(path: Path) -> list[Any]:
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return [content]
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in content.splitlines() if line.strip()]
        records = json.loads(content)
    except OSError as error:
        raise QuantizeError(f"calibration data {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise QuantizeError(f"calibration data {path} is not valid {path.suffix[1:]}: {error}") from error
    return list(records.values()) if isinstance(records, dict) else list(records)


def _hub_records(source: DatasetSource) -> Iterator[Any]:
    import datasets  # type: ignore[import-untyped]

    hub.check_dataset(source.name)
    for split in source.splits:
        try:
            yield from datasets.load_dataset(source.name, split=split)
        except (OSError, ValueError, RuntimeError) as error:
            raise QuantizeError(
                f"no calibration data: {source.name}, split {split}, cannot be loaded: {hub.first_line(error)}; "
                "give a local file with --dataset FILE"
            ) from error


def _text_of(record: Any, source: str) -> str:
    if isinstance(record, str):
        return record
    if isinstance(record, dict):
        strings = {name: value for name, value in record.items() if isinstance(value, str)}
        if TEXT_FIELD in strings:
            return strings[TEXT_FIELD]
        if len(strings) == 1:
            return next(iter(strings.values()))
    fields = ", ".join(record) if isinstance(record, dict) else type(record).__name__
    raise QuantizeError(
        f"calibration data {source}: a record is neither a string nor an object with a field {TEXT_FIELD!r} "
        f"or one string alone (found: {fields})"
    )
