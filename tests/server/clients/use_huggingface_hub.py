"""Use `huggingface_hub.InferenceClient` and write what came back as JSON: URL -> stdout."""

import json
import sys
from typing import Any

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.errors import ValidationError as TextGenerationValidationError

PROMPT = "What is a list?"
MESSAGES = [{"role": "user", "content": "What is a list?"}]
SAMPLED = {"max_new_tokens": 12, "do_sample": True, "seed": 7}
CHAT = {"max_tokens": 8, "temperature": 0.0}
WEATHER = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}


def use(client: InferenceClient) -> dict[str, Any]:
    detailed = client.text_generation(PROMPT, details=True, **SAMPLED)
    events = list(client.text_generation(PROMPT, details=True, stream=True, **SAMPLED))
    chat = client.chat_completion(MESSAGES, logprobs=True, **CHAT)
    chunks = list(client.chat_completion(MESSAGES, stream=True, stream_options={"include_usage": True}, **CHAT))
    return {
        "text": client.text_generation(PROMPT, **SAMPLED),
        "detailed": detailed.generated_text,
        "generated_tokens": detailed.details.generated_tokens,
        "pieces": "".join(client.text_generation(PROMPT, stream=True, **SAMPLED)),
        "streamed": events[-1].generated_text,
        "streamed_input_length": events[-1].details.input_length,
        "chat": chat.choices[0].message.content,
        "chat_logprobs": [entry.logprob for entry in chat.choices[0].logprobs.content],
        "chat_usage": chat.usage.total_tokens,
        "chat_pieces": "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices),
        "chat_stream_usage": chunks[-1].usage.total_tokens,
        "digits": client.text_generation(
            PROMPT, grammar={"type": "regex", "value": "[0-9]{3}"}, return_full_text=False
        ),
        "top_tokens": [len(tops) for tops in top_tokens(client)],
        "format": client.chat_completion(MESSAGES, response_format=FORMAT, max_tokens=40).choices[0].message.content,
        **use_tools(client),
        "error": text_generation_error(client),
        "chat_error": chat_error(client),
    }


def top_tokens(client: InferenceClient) -> list[Any]:
    parameters = {"max_new_tokens": 4, "top_n_tokens": 2, "best_of": 2, "do_sample": True}
    return client.text_generation(PROMPT, details=True, **parameters).details.top_tokens


def use_tools(client: InferenceClient) -> dict[str, Any]:
    asked = {"tools": [TOOL], "tool_choice": "required", "max_tokens": 40, "temperature": 0.0}
    (call,) = client.chat_completion(MESSAGES, **asked).choices[0].message.tool_calls
    chunks = client.chat_completion(MESSAGES, stream=True, **asked)
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls]
    return {
        "call": [call.id, call.function.name, call.function.arguments],
        "call_pieces": "".join(delta.function.arguments for delta in deltas),
    }


def text_generation_error(client: InferenceClient) -> str:
    try:
        client.text_generation(PROMPT, max_new_tokens=4, top_p=2.0)
    except TextGenerationValidationError as error:
        return str(error)
    return "no error"


def chat_error(client: InferenceClient) -> int:
    try:
        client.chat_completion(MESSAGES, top_p=2.0)
    except HfHubHTTPError as error:
        return error.response.status_code
    return 200


if __name__ == "__main__":
    json.dump(use(InferenceClient(base_url=sys.argv[1], timeout=60)), sys.stdout)
