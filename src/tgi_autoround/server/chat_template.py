"""Conversations -> text, with the model's own chat template and TGI's way of telling it about tools."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from jinja2 import Environment, TemplateSyntaxError, meta
from jinja2 import TemplateError as JinjaTemplateError
from transformers import PreTrainedTokenizerBase

from tgi_autoround.server.errors import TemplateError, ValidationError
from tgi_autoround.server.schemas.messages import ContentBody, Message, TextChunk
from tgi_autoround.server.schemas.tools import Tool

# A tag of transformers' own, for training.
GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


@dataclass(frozen=True)
class ToolOffer:
    """Tools that the model is told about, and how it is asked to call them."""

    tools: Sequence[Tool]
    prompt: str


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._template = _default_template(tokenizer)
        self._knows_tools = self._template is not None and _reads_tools(self._template)

    def render(self, messages: Sequence[Message], offer: ToolOffer | None = None) -> str:
        """Apply the template; a last message of the assistant's is left open, to be continued.

        Raises TemplateError where the template is missing or refuses the messages.
        """
        if self._template is None:
            raise TemplateError("template not found")
        turns = [{"role": message.role, "content": _text_of(message)} for message in messages]
        tools = [tool.model_dump() for tool in offer.tools] if offer else None
        if offer and messages and isinstance(messages[-1].body, ContentBody):
            turns[-1]["content"] += self._words_about(offer)
        try:
            text = str(
                self._tokenizer.apply_chat_template(
                    turns, tools=tools, chat_template=self._template, tokenize=False, add_generation_prompt=True
                )
            )
        except (JinjaTemplateError, TypeError, ValueError) as error:
            raise TemplateError(str(error)) from error
        if turns and turns[-1]["role"] == "assistant":
            return _cut_after(text, turns[-1]["content"])
        return text

    def _words_about(self, offer: ToolOffer) -> str:
        """What is added to the last message: the tools themselves only where the template would not name them."""
        if self._knows_tools:
            return f"\n---\n{offer.prompt}"
        tools = orjson.dumps([tool.model_dump() for tool in offer.tools]).decode()
        return f"\n---\n{tools}\n{offer.prompt}"


def _default_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    given = tokenizer.chat_template
    template: str | None = given.get("default") if isinstance(given, dict) else given
    return template


def _reads_tools(template: str) -> bool:
    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(GENERATION_TAG.sub("", template))
    except TemplateSyntaxError:
        return False
    return "tools" in meta.find_undeclared_variables(parsed)


def _text_of(message: Message) -> str:
    body = message.body
    if not isinstance(body, ContentBody):
        return orjson.dumps([call.model_dump() for call in body.tool_calls]).decode()
    if isinstance(body.content, str):
        return body.content
    if not all(isinstance(chunk, TextChunk) for chunk in body.content):
        raise ValidationError("image modality is not supported")
    return "".join(chunk.text for chunk in body.content if isinstance(chunk, TextChunk))


def _cut_after(text: str, ending: str) -> str:
    index = text.rfind(ending)
    return text if index < 0 else text[: index + len(ending)].rstrip()
