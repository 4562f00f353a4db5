"""Files that newer releases wrote, as tgi-gaudi 2.0's transformers 4.43 and tokenizers 0.19 can read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgi_autoround.checkpoint.compat import repaired_files, view_with
from tgi_autoround.checkpoint.json_files import read_object, show
from tgi_autoround.errors import UnsupportedError

TOKENIZER_FILE = "tokenizer.json"


def readable_by_transformers_4_43(model_dir: Path) -> Path:
    """Return `model_dir` where it can be read as it is, else a view of it in the temporary directory.

    Raises UnsupportedError for what the older releases cannot express, CheckpointError for files that are broken.
    """
    return view_with(model_dir, repaired_files(model_dir) | _repaired_tokenizer(model_dir / TOKENIZER_FILE))


def _repaired_tokenizer(file: Path) -> dict[str, dict[str, Any]]:
    """tokenizers 0.20 and later write BPE's merges as pairs, which 0.19 fails to read: it wants them as one string."""
    if not file.is_file():
        return {}
    tokenizer = read_object(file)
    model = tokenizer.get("model")
    merges = model.get("merges") if isinstance(model, Mapping) else None
    if not isinstance(merges, list) or not merges or not isinstance(merges[0], list):
        return {}
    return {file.name: tokenizer | {"model": {**tokenizer["model"], "merges": [_as_string(pair) for pair in merges]}}}


def _as_string(pair: Any) -> str:
    if isinstance(pair, list) and len(pair) == 2 and all(isinstance(token, str) and " " not in token for token in pair):
        return " ".join(pair)
    raise UnsupportedError(
        f"{TOKENIZER_FILE}: the merge {show(pair)} is not of two tokens without blanks, all that tokenizers 0.19 "
        "in tgi-gaudi 2.0 can read; serve the model with TGI 3.3.7 on Gaudi"
    )
