"""Log lines for people, or one JSON object a line with `--json-output`, as TGI's launcher does."""

import json
import logging
import os
from datetime import datetime, timezone


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "message": record.getMessage(),
            "target": record.name,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def set_up(*, as_json: bool) -> None:
    """Log to stderr from the level in LOG_LEVEL (default: info) upwards."""
    handler = logging.StreamHandler()
    if as_json:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    level = getattr(logging, os.environ.get("LOG_LEVEL", "info").upper(), logging.INFO)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for http_client in ("httpx", "httpx2"):
        logging.getLogger(http_client).setLevel(logging.WARNING)
