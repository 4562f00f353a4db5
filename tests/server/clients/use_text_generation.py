"""Use every part of `text-generation`, TGI's own client, and write what came back as JSON: URL -> stdout."""

import asyncio
import json
import sys
from typing import Any

from text_generation import AsyncClient, Client
from text_generation.errors import ValidationError
from text_generation.types import Grammar, GrammarType, Tool

PROMPT = "What is a list?"
MESSAGES = [{"role": "user", "content": "What is a list?"}]
SAMPLED = {"max_new_tokens": 12, "do_sample": True, "seed": 7}
DIGITS = Grammar(type=GrammarType.Regex, value="[0-9]{3}")
WEATHER = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
TOOL = Tool(type="function", function={"name": "weather", "parameters": WEATHER})


def use_sync(client: Client) -> dict[str, Any]:
    greedy = client.generate(PROMPT, max_new_tokens=12)
    streamed = list(client.generate_stream(PROMPT, **SAMPLED))
    return {
        "greedy": greedy.generated_text,
        "tokens": [token.model_dump() for token in greedy.details.tokens],
        "finish_reason": greedy.details.finish_reason.value,
        "stopped": client.generate(
            PROMPT, max_new_tokens=12, stop_sequences=[greedy.details.tokens[2].text]
        ).details.finish_reason.value,
        "sampled": client.generate(PROMPT, **SAMPLED).generated_text,
        "pieces": "".join(event.token.text for event in streamed),
        "streamed": streamed[-1].generated_text,
        "seed": streamed[-1].details.seed,
        "chat": client.chat(MESSAGES, max_tokens=8, temperature=0.0).choices[0].message.content,
        "likely": use_likelihoods(client),
        "digits": client.generate(PROMPT, grammar=DIGITS).generated_text,
        "call": client.chat(MESSAGES, tools=[TOOL], tool_choice="weather", max_tokens=40, temperature=0.0)
        .choices[0]
        .message.tool_calls,
        "error": error_of(lambda: client.generate("list " * 1200, max_new_tokens=2000)),
        "stream_error": error_of(lambda: list(client.generate_stream("list " * 1200, max_new_tokens=2000))),
    }


def use_likelihoods(client: Client) -> dict[str, Any]:
    parameters = {"best_of": 2, "do_sample": True, "top_n_tokens": 2, "decoder_input_details": True}
    details = client.generate(PROMPT, max_new_tokens=4, **parameters).details
    return {
        "sequences": 1 + len(details.best_of_sequences),
        "top_tokens": [len(tops) for tops in details.top_tokens],
        "prefill": [token.id for token in details.prefill],
    }


async def use_async(client: AsyncClient) -> dict[str, Any]:
    streamed = [event async for event in client.generate_stream(PROMPT, **SAMPLED)]
    answers = await asyncio.gather(*(client.generate(PROMPT, **SAMPLED) for _ in range(8)))
    chat = await client.chat(MESSAGES, max_tokens=8, temperature=0.0)
    return {
        "sampled": sorted({answer.generated_text for answer in answers}),
        "streamed": streamed[-1].generated_text,
        "chat": chat.choices[0].message.content,
    }


def error_of(call: Any) -> str:
    try:
        call()
    except ValidationError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    url = sys.argv[1]
    observed = {
        "sync": use_sync(Client(url, timeout=60)),
        "async": asyncio.run(use_async(AsyncClient(url, timeout=60))),
    }
    json.dump(observed, sys.stdout)
