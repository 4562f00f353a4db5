"""Use the `openai` client and write what came back as JSON: URL -> stdout."""

import json
import sys
from typing import Any

import openai

PROMPT = "What is a list?"
MESSAGES = [{"role": "user", "content": "What is a list?"}]
GREEDY = {"model": "tgi", "max_tokens": 8, "temperature": 0.0}


def use(client: openai.OpenAI) -> dict[str, Any]:
    chat = client.chat.completions.create(messages=MESSAGES, logprobs=True, **GREEDY)
    usage_last = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(messages=MESSAGES, **usage_last, **GREEDY))
    completion = client.completions.create(prompt=[PROMPT, "A list"], **GREEDY)
    pieces = list(client.completions.create(prompt=PROMPT, stream=True, **GREEDY))
    return {
        "models": [model.id for model in client.models.list()],
        "chat": chat.choices[0].message.content,
        "chat_tokens": [entry.token for entry in chat.choices[0].logprobs.content],
        "chat_usage": chat.usage.total_tokens,
        "chat_pieces": "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices),
        "chat_stream_usage": chunks[-1].usage.total_tokens,
        "completions": [choice.text for choice in completion.choices],
        "completion_pieces": "".join(piece.choices[0].text for piece in pieces),
        "error": unprocessable(lambda: client.chat.completions.create(messages=MESSAGES, **GREEDY, top_p=2.0)),
        "suffix_error": unprocessable(lambda: client.completions.create(prompt=PROMPT, **GREEDY, suffix="x")),
        "stream_error": stream_error(client),
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
