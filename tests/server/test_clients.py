"""Real clients, each in a process of its own, see the answers that plain HTTP sees.

They run in `.venv-clients` (made by scripts/test from clients-requirements.txt), because their pins clash with ours.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from tests.server.live import LiveServer, near

ROOT = Path(__file__).parents[2]
CLIENTS_PYTHON = ROOT / ".venv-clients/bin/python"
PROMPT = "What is a list?"
SAMPLED = {"max_new_tokens": 12, "do_sample": True, "seed": 7}
TOP_P_ERROR = "Input validation error: `top_p` must be > 0.0 and < 1.0"

pytestmark = pytest.mark.clients


def use(client: str, server: LiveServer, python: Path = CLIENTS_PYTHON) -> dict[str, Any]:
    """Run tests/server/clients/use_<client>.py against the server and return what it saw."""
    script = Path(__file__).parent / f"clients/use_{client}.py"
    result = subprocess.run([python, script, server.url], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def greedy_chat(server: LiveServer) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT}]
    body = {"messages": messages, "max_tokens": 8, "temperature": 0.0, "logprobs": True}
    return server.post("/v1/chat/completions", body).json()


def weather_call(server: LiveServer) -> dict[str, str]:
    """The greedy call of the clients' tool."""
    schema = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 40, "temperature": 0.0, "tools": [tool]}
    answer = server.post("/v1/chat/completions", {**body, "tool_choice": "weather"}).json()
    return answer["choices"][0]["message"]["tool_calls"][0]


def test_text_generation(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    seen = use("text_generation", server)
    greedy = server.generate(PROMPT, max_new_tokens=12, details=True)
    sampled = server.generate(PROMPT, **SAMPLED)["generated_text"]
    chat = greedy_chat(server)["choices"][0]["message"]["content"]
    error = seen["sync"].pop("error")
    assert error.startswith("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: ")
    assert re.fullmatch("[0-9]{3}", seen["sync"].pop("digits"))
    assert seen["sync"] == {
        "likely": {"sequences": 2, "top_tokens": [2] * 4, "prefill": tokenizer(PROMPT).input_ids},
        "call": [weather_call(server)],
        "greedy": greedy["generated_text"],
        "tokens": near(greedy["details"]["tokens"]),
        "finish_reason": "length",
        "stopped": "stop_sequence",
        "sampled": sampled,
        "pieces": sampled.rstrip("\ufffd"),
        "streamed": sampled,
        "seed": 7,
        "chat": chat,
        "stream_error": error,
    }
    assert seen["async"] == {"sampled": [sampled], "streamed": sampled, "chat": chat}


@pytest.mark.parametrize("python", [CLIENTS_PYTHON, Path(sys.executable)], ids=["below-1", "ours"])
def test_huggingface_hub(server: LiveServer, python: Path) -> None:
    """This client posts to `/`, where TGI puts the prompt first for a model without a pipeline tag."""
    seen = use("huggingface_hub", server, python)
    sampled = server.generate(PROMPT, **SAMPLED)["generated_text"]
    chat = greedy_chat(server)
    content, usage = chat["choices"][0]["message"]["content"], chat["usage"]["total_tokens"]
    function = weather_call(server)["function"]
    assert re.fullmatch("[0-9]{3}", seen.pop("digits"))
    assert json.loads(seen.pop("format"))["unit"] in ("C", "F")
    assert json.loads(seen.pop("call_pieces")) == json.loads(function["arguments"])
    assert near(seen) == {
        "call": ["0", "weather", function["arguments"]],
        "top_tokens": [2] * 4,
        "text": PROMPT + sampled,
        "detailed": PROMPT + sampled,
        "generated_tokens": 12,
        "pieces": sampled.rstrip("\ufffd"),
        "streamed": PROMPT + sampled,
        "streamed_input_length": len(server.post("/tokenize", {"inputs": PROMPT}).json()),
        "chat": content,
        "chat_logprobs": [entry["logprob"] for entry in chat["choices"][0]["logprobs"]["content"]],
        "chat_usage": usage,
        "chat_pieces": content.rstrip("\ufffd"),
        "chat_stream_usage": usage,
        "error": TOP_P_ERROR,
        "chat_error": 422,
    }


def test_openai(server: LiveServer) -> None:
    seen = use("openai", server)
    chat = greedy_chat(server)
    content, usage = chat["choices"][0]["message"]["content"], chat["usage"]["total_tokens"]
    texts = [server.generate(prompt, max_new_tokens=8)["generated_text"] for prompt in (PROMPT, "A list")]
    suffix_error = "Suffix is not supported and can be achieved by preprocessing the prompt."
    function = weather_call(server)["function"]
    assert [len(tops) for tops in seen.pop("chat_tops")] == [2] * 8
    assert seen.pop("parsed") in ("C", "F")
    assert json.loads(seen.pop("call_pieces")) == json.loads(function["arguments"])
    assert seen == {
        "call": ["0", "weather", function["arguments"]],
        "after_the_call": "length",
        "models": [server.http.get("/info").json()["model_id"]],
        "chat": content,
        "chat_tokens": [entry["token"] for entry in chat["choices"][0]["logprobs"]["content"]],
        "chat_usage": usage,
        "chat_pieces": content.rstrip("\ufffd"),
        "chat_stream_usage": usage,
        "completions": texts,
        "completion_pieces": texts[0].rstrip("\ufffd"),
        "error": {"status": 422, "body": {"error": TOP_P_ERROR, "error_type": "validation"}},
        "suffix_error": {"status": 422, "body": {"error": suffix_error, "error_type": "suffix not supported"}},
        "stream_error": TOP_P_ERROR,
    }
