"""Use the `openai` client and write what came back as JSON: URL -> stdout."""

import json
import sys
from typing import Any, Literal

import openai
import pydantic

PROMPT = "What is a list?"
MESSAGES = [{"role": "user", "content": "What is a list?"}]
GREEDY = {"model": "tgi", "max_tokens": 8, "temperature": 0.0}
LONGER = {**GREEDY, "max_tokens": 40}
WEATHER = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}


class Weather(pydantic.BaseModel):
    """What `parse` asks for."""

    unit: Literal["C", "F"]


def use(client: openai.OpenAI) -> dict[str, Any]:
    chat = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=2, **GREEDY)
    usage_last = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(messages=MESSAGES, **usage_last, **GREEDY))
    completion = client.completions.create(prompt=[PROMPT, "A list"], **GREEDY)
    pieces = list(client.completions.create(prompt=PROMPT, stream=True, **GREEDY))
    return {
        "models": [model.id for model in client.models.list()],
        "chat": chat.choices[0].message.content,
        "chat_tokens": [entry.token for entry in chat.choices[0].logprobs.content],
        "chat_tops": [[top.token for top in entry.top_logprobs] for entry in chat.choices[0].logprobs.content],
        "chat_usage": chat.usage.total_tokens,
        "chat_pieces": "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices),
        "chat_stream_usage": chunks[-1].usage.total_tokens,
        "completions": [choice.text for choice in completion.choices],
        "completion_pieces": "".join(piece.choices[0].text for piece in pieces),
        "parsed": client.chat.completions.parse(messages=MESSAGES, response_format=Weather, **LONGER)
        .choices[0]
        .message.parsed.unit,
        **use_tools(client),
        "error": unprocessable(lambda: client.chat.completions.create(messages=MESSAGES, **GREEDY, top_p=2.0)),
        "suffix_error": unprocessable(lambda: client.completions.create(prompt=PROMPT, **GREEDY, suffix="x")),
        "stream_error": stream_error(client),
    }


def use_tools(client: openai.OpenAI) -> dict[str, Any]:
    """Call a tool, whole and streamed, and go on with what it said."""
    asked = {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}, **LONGER}
    message = client.chat.completions.create(messages=MESSAGES, **asked).choices[0].message
    (call,) = message.tool_calls
    chunks = client.chat.completions.create(messages=MESSAGES, stream=True, **asked)
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls]
    said = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    after = client.chat.completions.create(messages=[*MESSAGES, message, said], **GREEDY)
    return {
        "call": [call.id, call.function.name, call.function.arguments],
        "call_pieces": "".join(delta.function.arguments for delta in deltas),
        "after_the_call": after.choices[0].finish_reason,
    }


def unprocessable(call: Any) -> dict[str, Any]:
    try:
        call()
    except openai.UnprocessableEntityError as error:
        return {"status": error.status_code, "body": error.response.json()}
    return {}


def stream_error(client: openai.OpenAI) -> str:
    try:
        list(client.chat.completions.create(messages=MESSAGES, stream=True, **GREEDY, top_p=2.0))
    except openai.APIError as error:
        return error.message
    return "no error"


if __name__ == "__main__":
    json.dump(use(openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="-", timeout=60, max_retries=0)), sys.stdout)
