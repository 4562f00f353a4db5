"""The mock's routes that generate nothing: health, description, metrics, tokenizer."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from loadtest.mock.answers import chat_text
from loadtest.mock.http import Request, whole

GAUGES = ("tgi_queue_size", "tgi_batch_current_size")
COUNTERS = ("tgi_request_count", "tgi_request_success", "tgi_request_failure")
INFO = {"model_id": "mock", "version": "3.3.7", "max_input_tokens": 32767, "max_total_tokens": 32768}


def plain_answer(request: Request, counts: Mapping[str, int]) -> bytes:
    if request.path == "/health":
        return whole(b"")
    if request.path == "/info":
        return whole(json.dumps(INFO).encode())
    if request.path == "/metrics":
        return whole(_metrics(counts).encode(), kind="text/plain; version=0.0.4")
    if request.path == "/tokenize":
        return whole(json.dumps(_tokens(str(request.body.get("inputs", "")))).encode())
    if request.path == "/chat_tokenize":
        text = chat_text(request.body)
        return whole(json.dumps({"tokenize_response": _tokens(text), "templated_text": text}).encode())
    return whole(b'{"error":"no such route"}', HTTPStatus.NOT_FOUND)


def _metrics(counts: Mapping[str, int]) -> str:
    kinds = [(name, "gauge") for name in GAUGES] + [(name, "counter") for name in COUNTERS]
    return "".join(f"# TYPE {name} {kind}\n{name} {counts.get(name, 0)}\n" for name, kind in kinds)


def _tokens(text: str) -> list[dict[str, Any]]:
    """Words, as TGI's /tokenize describes tokens."""
    return [
        {"id": index, "text": word.group(), "start": word.start(), "stop": word.end()}
        for index, word in enumerate(re.finditer(r"\S+", text))
    ]
