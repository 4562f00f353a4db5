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
        "error": text_generation_error(client),
        "chat_error": chat_error(client),
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
