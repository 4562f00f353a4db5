"""Tools as a grammar that lets the model write nothing but a call, and what it wrote as calls.

The call's form and the tool that stands for "none of them" are TGI's: router/src/infer/tool_grammar.rs, 3.3.7.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tgi_autoround.server.errors import ToolError
from tgi_autoround.server.schemas.grammar import JsonGrammar
from tgi_autoround.server.schemas.tools import FunctionDefinition, Tool, ToolCall, ToolChoice, TypedChoice

NO_TOOL = Tool(
    type="function",
    function=FunctionDefinition(
        name="no_tool",
        description="Open ended response with no specific tool selected",
        arguments={"type": "object"},
    ),
)
CALL_OPENING = re.compile(r'\s*\{\s*"function"\s*:\s*\{\s*"_name"\s*:\s*("(?:[^"\\]|\\.)*")\s*(?:,|(?=\}))')


def offered(tools: Sequence[Tool], choice: ToolChoice | None) -> list[Tool]:
    """Return the tools the model may call under `choice`: none of them means an ordinary answer. Raises ToolError."""
    if choice == "none":
        return []
    if choice == "required":
        return list(tools)
    if choice in (None, "auto"):
        return [*tools, NO_TOOL]
    name = choice.function.name if isinstance(choice, TypedChoice) else choice
    for tool in tools:
        if tool.function.name == name:
            return [tool]
    raise ToolError(f"Tool with name {name} not found")


def call_grammar(tools: Sequence[Tool]) -> JsonGrammar:
    """Return the grammar of one call.

    TGI puts the functions beside the properties and refers to them, so names with a slash break it, and its schema
    admits an answer without any call. Here they stand in place, and a call is required.
    """
    calls = [_schema_of(tool.function) for tool in tools]
    schema = {
        "type": "object",
        "properties": {"function": {"anyOf": calls}},
        "required": ["function"],
        "additionalProperties": False,
    }
    return JsonGrammar(type="json", value=schema)


def call_in(text: str) -> ToolCall | None:
    """Return the call that `text` is, or None where the model chose none of the tools. Raises ToolError."""
    match _parsed(text):
        case {"function": {"_name": NO_TOOL.function.name}}:
            return None
        case {"function": {"_name": str(name), **arguments}}:
            return ToolCall(id="0", type="function", function=FunctionDefinition(name=name, arguments=arguments))
    raise ToolError(f"Failed to parse generated text: it is no call {_quoted(text)}")


@dataclass(frozen=True, slots=True)
class CallPiece:
    """What one token adds to a call; the first piece has the name."""

    name: str | None
    arguments: str


class CallReader:
    """Reads one call while it is generated."""

    def __init__(self) -> None:
        self._text = ""
        self._name: str | None = None
        self._arguments_start = 0
        self._arguments_given = 0
        self._is_whole = False

    @property
    def chose_no_tool(self) -> bool:
        """Whether the model has said that it calls none of the tools."""
        return self._name == NO_TOOL.function.name

    def add(self, text: str) -> CallPiece | None:
        """Return the next piece: None until the name is known, and after the call's end."""
        self._text += text
        if self._is_whole:
            return None
        if self._name is not None:
            return CallPiece(None, self._new_arguments())
        opening = CALL_OPENING.match(self._text)
        if opening is None:
            return None
        self._name = str(orjson.loads(opening[1]))
        self._arguments_start = opening.end()
        return CallPiece(self._name, "{" + self._new_arguments())

    def _new_arguments(self) -> str:
        """The text since the last piece, without the brace that closes what stands around the call."""
        arguments = self._text[self._arguments_start :]
        if arguments.rstrip().endswith("}") and _is_json(self._text):
            self._is_whole = True
            arguments = arguments.rstrip()[:-1]
        new = arguments[self._arguments_given :]
        self._arguments_given += len(new)
        return new


def _schema_of(function: FunctionDefinition) -> dict[str, Any]:
    given = function.arguments if isinstance(function.arguments, dict) else {}
    properties, required = given.get("properties"), given.get("required")
    return {
        "type": "object",
        "description": function.description or "",
        "properties": {
            # First, so that a stream can say early which function is called.
            "_name": {"type": "string", "const": function.name},
            **(properties if isinstance(properties, dict) else {}),
        },
        "required": ["_name", *(required if isinstance(required, list) else [])],
        "additionalProperties": False,
    }


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ToolError(f"Failed to parse generated text: {error} {_quoted(text)}") from error


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
