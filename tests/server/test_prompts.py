"""Long prompts are tokenized beside the event loop, which serves everybody else meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from transformers import AutoTokenizer

from tgi_autoround.server.prompts import Prompts

DEMO_MODEL = Path(__file__).parents[2] / "assets/demo-model"
LONG = "the list of a thing é " * 30_000


async def longest_pause_and_time(work: Awaitable[object]) -> tuple[float, float]:
    """How long, in seconds, the event loop stood still at most until `work` was done, and how long that took."""
    task = asyncio.ensure_future(work)
    begun_at = seen_at = time.perf_counter()
    longest = 0.0
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, seen_at = max(longest, now - seen_at), now
    return longest, seen_at - begun_at


@pytest.mark.parametrize("work", [Prompts.encode, Prompts.token_list])
def test_the_event_loop_runs_while_a_long_prompt_is_tokenized(work: Callable[..., Awaitable[object]]) -> None:
    prompts = Prompts(AutoTokenizer.from_pretrained(DEMO_MODEL), workers=1)
    pause_s, whole_s = asyncio.run(longest_pause_and_time(work(prompts, LONG, add_special_tokens=True)))
    assert pause_s < whole_s / 2


def test_tokens_tell_their_bytes() -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    prompts = Prompts(tokenizer, workers=1)
    text = "a thing, é and 日"
    tokens = orjson.loads(asyncio.run(prompts.token_list(text, add_special_tokens=False)))
    for token in tokens:
        assert text.encode()[token["start"] : token["stop"]].decode() == token["text"]
    assert [token["id"] for token in tokens] == tokenizer.encode(text, add_special_tokens=False)
