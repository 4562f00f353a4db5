"""Makes the matrix's checkpoints, each once a machine: a cache holds them by what they are made from.

TGI_AUTOROUND_TEST_CACHE names the cache's folder; it is ~/.cache/tgi-autoround-tests otherwise.
"""

import hashlib
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests import autoround, models
from tests.coverage import edits
from tests.coverage.cases import Case
from tests.coverage.families import MODELS

VERSIONS = {package: version(package) for package in ("auto-round", "torch", "transformers")}
INIT_STD = 0.1
"""Large enough that every layer shows in the logits."""


def cache_dir() -> Path:
    return Path(os.environ.get("TGI_AUTOROUND_TEST_CACHE", "~/.cache/tgi-autoround-tests")).expanduser()


def checkpoint(case: Case) -> Path:
    """Return the folder of a case's checkpoint."""
    made_from = {"model": asdict(MODELS[case.model]), "recipe": case.recipe and asdict(case.recipe)}
    edit = {"edit": [case.edit, case.arguments]} if case.edit else {}
    return _cached({**made_from, **edit}, lambda out: _make(case, out))


def source_model(name: str) -> Path:
    """Return the folder of a floating-point model of `families.MODELS`."""
    return _cached({"model": asdict(MODELS[name])}, lambda out: _make_model(name, out))


def _cached(made_from: dict[str, object], make: Callable[[Path], None]) -> Path:
    makers = [autoround, models, _make, _make_model, *([edits] if "edit" in made_from else [])]
    content = json.dumps([made_from, VERSIONS, [inspect.getsource(maker) for maker in makers]], sort_keys=True)
    folder = cache_dir() / hashlib.sha256(content.encode()).hexdigest()[:16]
    if not folder.exists():
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
            out = Path(scratch) / "made"
            make(out)
            _publish(out, folder)
    return folder


def _publish(made: Path, folder: Path) -> None:
    """Several runs may make the same; the first one's stays."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _make(case: Case, out: Path) -> None:
    if case.edit:
        base = source_model(case.model) if case.recipe is None else _quantized(case)
        shutil.copytree(base, out)
        getattr(edits, case.edit)(out, *case.arguments)
        return
    recipe = asdict(case.recipe)
    options = recipe.pop("options")
    autoround.quantize_rtn(source_model(case.model), out.parent / "job", **recipe, **options).rename(out)


def _quantized(case: Case) -> Path:
    return checkpoint(replace(case, edit=None, arguments=()))


def _make_model(name: str, out: Path) -> None:
    model_of = MODELS[name]
    models.make_tokenizer(out)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_of.architecture, **model_of.fields))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = INIT_STD * torch.randn(parameter.shape, generator=random)
            parameter.copy_(spread if parameter.dim() > 1 else parameter + spread)
    model.to(getattr(torch, model_of.dtype)).save_pretrained(out)
