"""Text -> token ids, with the model's own tokenizer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from tgi_autoround.errors import UnsupportedError
from tgi_autoround.server.schemas.generate import SimpleToken


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

        def encode() -> Encoding:
            return self._backend.encode(text, add_special_tokens=add_special_tokens)

        return await asyncio.get_running_loop().run_in_executor(self._pool, encode)


def simple_tokens(text: str, encoding: Encoding) -> list[SimpleToken]:
    """Say which UTF-8 bytes of `text` each token covers."""
    byte_at = [0]
    for character in text:
        byte_at.append(byte_at[-1] + len(character.encode()))
    return [
        SimpleToken(id=token_id, text=text[start:stop], start=byte_at[start], stop=byte_at[stop])
        for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
    ]
