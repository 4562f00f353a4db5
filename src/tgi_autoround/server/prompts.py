"""Text -> token ids, with the model's own tokenizer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, TypeVar

import orjson
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from tgi_autoround.errors import UnsupportedError

Result = TypeVar("Result")


class Prompts:
    """The tokenizer, used from `workers` threads so that a long prompt stops nobody's stream."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, workers: int) -> None:
        if not tokenizer.is_fast:
            raise UnsupportedError(
                f"{type(tokenizer).__name__} is no fast tokenizer; add a tokenizer.json to the checkpoint"
            )
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tokenize")

    async def encode(self, text: str, *, add_special_tokens: bool) -> Encoding:
        """Tokenize `text`; offsets are in characters."""
        return await self._in_pool(self._encoded, text, add_special_tokens)

    async def token_list(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Return the JSON of a TokenizeResponse for `text`."""

        def write() -> bytes:
            return orjson.dumps(_simple_tokens(text, self._encoded(text, add_special_tokens)))

        return await self._in_pool(write)

    def _encoded(self, text: str, add_special_tokens: bool) -> Encoding:
        """Unlike `encode`, `encode_batch` (tokenizers 0.23) lets other threads run meanwhile."""
        return self._backend.encode_batch([text], add_special_tokens=add_special_tokens)[0]

    async def _in_pool(self, work: Callable[..., Result], *given: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)


def _simple_tokens(text: str, encoding: Encoding) -> list[dict[str, Any]]:
    """Say which UTF-8 bytes of `text` each token covers: the JSON of SimpleTokens, of which there may be a million."""
    byte_at = list(accumulate((len(character.encode()) for character in text), initial=0))
    return [
        {"id": token_id, "text": text[start:stop], "start": byte_at[start], "stop": byte_at[stop]}
        for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
    ]
