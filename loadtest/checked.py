"""Files checked against their schema, with errors that name the file, the key and the remedy."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from loadtest.errors import LoadTestError
from loadtest.scenario import Model

ModelT = TypeVar("ModelT", bound=BaseModel)
NOT_IN_FILES = {"folder", "parts", "workload"}


def checked(model: type[ModelT], content: Any, file: Path) -> ModelT:
    """Raises LoadTestError with a line for each problem."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(details)}" for details in error.errors())
        raise LoadTestError(f"{file} does not fit:\n{problems}") from error


def _problem(details: Mapping[str, Any]) -> str:
    place = ".".join(str(key) for key in details["loc"]) or "the whole file"
    if details["type"] == "missing":
        return f"{place} is missing."
    if details["type"] == "extra_forbidden":
        return f"{place} is not a key that exists.{_suggestion(str(details['loc'][-1]))}"
    problem = f"{place}: {details['msg'].removeprefix('Value error, ')}"
    return problem if place == "the whole file" else f"{problem} (it says {details['input']!r})."


def _suggestion(key: str) -> str:
    known = {name for model in _all_models(Model) for name in model.model_fields} - NOT_IN_FILES
    matches = get_close_matches(key, known, n=1, cutoff=0.5)
    return f" Did you mean {matches[0]}?" if matches else ""


def _all_models(model: type[Model]) -> list[type[Model]]:
    return [model, *(below for child in model.__subclasses__() for below in _all_models(child))]
