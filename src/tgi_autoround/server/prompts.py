"""Text -> token ids, and conversations -> text, with the model's own tokenizer and chat template."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from jinja2 import TemplateError as JinjaTemplateError
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from tgi_autoround.errors import UnsupportedError
from tgi_autoround.server.errors import TemplateError, ValidationError
from tgi_autoround.server.schemas.chat import Message, TextChunk
from tgi_autoround.server.schemas.generate import SimpleToken


class Prompts:
    """The tokenizer, used from `workers` threads so that a long prompt stops nobody's stream."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, workers: int) -> None:
        if not tokenizer.is_fast:
            raise UnsupportedError(
                f"{type(tokenizer).__name__} is no fast tokenizer; add a tokenizer.json to the checkpoint"
            )
        self._tokenizer = tokenizer
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tokenize")

    async def encode(self, text: str, *, add_special_tokens: bool) -> Encoding:
        """Tokenize `text`; offsets are in characters."""

        def encode() -> Encoding:
            return self._backend.encode(text, add_special_tokens=add_special_tokens)

        return await asyncio.get_running_loop().run_in_executor(self._pool, encode)

    def render(self, messages: Sequence[Message]) -> str:
        """Apply the chat template; a last message of the assistant's is left open, to be continued.

        Raises TemplateError where the template is missing or refuses the messages.
        """
        if self._tokenizer.chat_template is None:
            raise TemplateError("template not found")
        turns = [{"role": message.role, "content": _text_of(message)} for message in messages]
        try:
            text = str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except (JinjaTemplateError, TypeError, ValueError) as error:
            raise TemplateError(str(error)) from error
        if turns and turns[-1]["role"] == "assistant":
            return _cut_after(text, turns[-1]["content"])
        return text


def simple_tokens(text: str, encoding: Encoding) -> list[SimpleToken]:
    """Say which UTF-8 bytes of `text` each token covers."""
    byte_at = [0]
    for character in text:
        byte_at.append(byte_at[-1] + len(character.encode()))
    return [
        SimpleToken(id=token_id, text=text[start:stop], start=byte_at[start], stop=byte_at[stop])
        for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
    ]


def _text_of(message: Message) -> str:
    if message.content is None:
        return json.dumps([call.model_dump() for call in message.tool_calls or []])
    if isinstance(message.content, str):
        return message.content
    if not all(isinstance(chunk, TextChunk) for chunk in message.content):
        raise ValidationError("image modality is not supported")
    return "".join(chunk.text for chunk in message.content if isinstance(chunk, TextChunk))


def _cut_after(text: str, ending: str) -> str:
    index = text.rfind(ending)
    return text if index < 0 else text[: index + len(ending)].rstrip()
