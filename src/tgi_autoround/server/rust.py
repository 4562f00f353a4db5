"""Values as Rust's `{:?}` writes them, which is how they stand in TGI's log lines."""

import json
from typing import Any

from pydantic import BaseModel

UNITS_NS = (("s", 10**9), ("ms", 10**6), ("µs", 10**3))


def duration(seconds: float) -> str:
    """1.5s, 20.25ms, 7µs, 3ns."""
    nanoseconds = round(seconds * 1e9)
    for unit, size in UNITS_NS:
        if nanoseconds >= size:
            whole, rest = divmod(nanoseconds, size)
            digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0")
            return f"{whole}.{digits}{unit}" if digits else f"{whole}{unit}"
    return f"{nanoseconds}ns"


def option(value: Any) -> str:
    """None, or Some(value)."""
    return "None" if value is None else f"Some({_plain(value)})"


def struct(model: BaseModel) -> str:
    """Name { field: value, ... }; fields that are None unless given are options."""
    fields = type(model).model_fields
    values = (f"{name}: {option(value) if fields[name].default is None else _plain(value)}" for name, value in model)
    return f"{type(model).__name__} {{ {', '.join(values)} }}"


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return json.dumps(value, ensure_ascii=False)
