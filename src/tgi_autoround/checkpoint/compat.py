"""Files that transformers 5 wrote, as TGI 3.3.7's transformers 4.51 can read them, without touching the user's.

A view is a directory of links to every file of the model, with repaired copies in place of those that need it.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tgi_autoround.checkpoint.compat_config import older_config
from tgi_autoround.checkpoint.compat_tokenizer import ChatTemplate, older_tokenizer_config
from tgi_autoround.checkpoint.json_files import read_object
from tgi_autoround.errors import CheckpointError

CONFIG_FILE = "config.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
VIEW_PREFIX = "tgi-autoround-view"

Repair = Callable[[dict[str, Any]], dict[str, Any]]


def readable_by_transformers_4(model_dir: Path) -> Path:
    """Return `model_dir` where it can be read as it is, else a view of it in the temporary directory.

    The view's name is made of its content, and it appears in one step: shards that start together get the same one.
    Raises UnsupportedError for what transformers 4.51 cannot express, CheckpointError for files that are broken.
    """
    return view_with(model_dir, repaired_files(model_dir))


def view_with(model_dir: Path, repaired: Mapping[str, dict[str, Any]]) -> Path:
    """Return a view of `model_dir` in which `repaired` are the contents of files by name; without any, `model_dir`.

    Raises CheckpointError where the temporary directory does not take it.
    """
    if not repaired:
        return model_dir
    source = model_dir.resolve()
    texts = {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in repaired.items()}
    links = {path.name: path for path in sorted(source.iterdir()) if path.name not in texts}
    try:
        return _placed(_views_of_this_user() / _name_of_view(source, links, texts), links, texts)
    except OSError as error:
        raise CheckpointError(
            f"{model_dir} was written by transformers 5, and the copies of {', '.join(texts)} that TGI's transformers "
            f"can read cannot be put into the temporary directory: {error}; set TMPDIR to a directory with room"
        ) from error


def repaired_files(model_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the content that the model's JSON files must have for transformers 4.51, by name; only what changes.

    Raises UnsupportedError for what transformers 4.51 cannot express, CheckpointError for files that are broken.
    """
    repairs: dict[str, Repair] = {
        CONFIG_FILE: older_config,
        TOKENIZER_CONFIG_FILE: partial(older_tokenizer_config, chat_template=_chat_template(model_dir)),
    }
    contents = {name: read_object(model_dir / name) for name in repairs if (model_dir / name).is_file()}
    repaired = {name: repairs[name](content) for name, content in contents.items()}
    return {name: content for name, content in repaired.items() if content != contents[name]}


def _chat_template(model_dir: Path) -> ChatTemplate | None:
    """Return the template beside the tokenizer; with the named ones, in 4.51's form, where there are several."""
    main = model_dir / TEMPLATE_FILE
    if not main.is_file():
        return None
    named = sorted((model_dir / TEMPLATE_FOLDER).glob("*.jinja"))
    if not named:
        return _text(main)
    templates = {"default": main} | {path.stem: path for path in named}
    return [{"name": name, "template": _text(path)} for name, path in templates.items()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8: {error.reason}; download or write the file again") from error


def _views_of_this_user() -> Path:
    """Return a directory that no other user of the machine can put links into."""
    views = Path(tempfile.gettempdir()) / f"{VIEW_PREFIX}-{os.getuid()}"
    views.mkdir(mode=0o700, exist_ok=True)
    if views.lstat().st_uid != os.getuid() or not stat.S_ISDIR(views.lstat().st_mode):
        raise CheckpointError(f"{views} belongs to another user; remove it, or set TMPDIR to a directory of your own")
    return views


def _name_of_view(source: Path, links: Mapping[str, Path], texts: Mapping[str, str]) -> str:
    content = json.dumps([str(source), sorted(links), texts])
    return f"{source.name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _placed(view: Path, links: Mapping[str, Path], texts: Mapping[str, str]) -> Path:
    if view.is_dir():
        if {path.name for path in view.iterdir()} == {*links, *texts}:
            return view
        shutil.rmtree(view)  # something that clears temporary files has been here
    with tempfile.TemporaryDirectory(dir=view.parent, ignore_cleanup_errors=True) as made:
        for name, target in links.items():
            (Path(made) / name).symlink_to(target)
        for name, text in texts.items():
            (Path(made) / name).write_text(text, encoding="utf-8")
        try:
            Path(made).rename(view)
        except OSError:
            if not view.is_dir():  # else another shard was quicker, with the same content
                raise
    return view
