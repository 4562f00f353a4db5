"""Log lines as TGI's router writes them, for people or as one JSON object a line with `--json-output`."""

import json
import logging
import os
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgi_autoround.server.spans import Span

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}


class TextFormatter(logging.Formatter):
    """2024-05-06T07:08:09.123456Z  INFO generate{seed="None"}: target: file.py:12: message"""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and what was raised below it."""
        span = getattr(record, "span", None)
        where = f"{span.name}{{{_fields(span)}}}: " if span else ""
        place = f"{record.name}: {record.filename}:{record.lineno}"
        told = _one_line(f"{where}{place}: {record.getMessage()}")
        line = f"{_timestamp(record)} {_level(record):>5} {told}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        fields: dict[str, Any] = {
            "timestamp": _timestamp(record),
            "level": _level(record),
            "message": record.getMessage(),
            "target": record.name,
            "filename": record.filename,
            "line_number": record.lineno,
        }
        if (span := getattr(record, "span", None)) is not None:
            fields["span"] = {**span.fields, "name": span.name}
            fields["spans"] = [fields["span"]]
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def set_up(*, as_json: bool) -> None:
    """Log to stderr from the level in LOG_LEVEL (default: info) upwards."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    level = getattr(logging, os.environ.get("LOG_LEVEL", "info").upper(), logging.INFO)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for http_client in ("httpx", "httpx2"):
        logging.getLogger(http_client).setLevel(logging.WARNING)


def _one_line(text: str) -> str:
    """Escape control characters and line ends: what clients sent must not look like lines of the log."""
    return CONTROL_CHARACTERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _fields(span: "Span") -> str:
    """Only what is no text already in Rust's eyes stands without quotes."""
    return " ".join(
        f"{name}={value}" if name == "parameters" else f'{name}="{value}"' for name, value in span.fields.items()
    )


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _level(record: logging.LogRecord) -> str:
    return LEVELS.get(record.levelname, record.levelname)
