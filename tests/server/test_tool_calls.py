"""The form of a tool's call: what the grammar admits, and how a call is read whole and piece by piece."""

import itertools
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgi_autoround.server.errors import ToolError
from tgi_autoround.server.schemas.tools import FunctionDefinition, FunctionName, Tool, TypedChoice
from tgi_autoround.server.tool_calls import CallReader, call_grammar, call_in, offered

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=4), parts, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "_name"), JSON_VALUES, max_size=4)
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name != "no_tool")


def tool(name: str, **parameters: Any) -> Tool:
    return Tool(type="function", function=FunctionDefinition(name=name, arguments=parameters))


WEATHER = tool("weather", properties={"unit": {"enum": ["C", "F"]}, "days": {"type": "integer"}}, required=["unit"])
TIME = tool("time")


def as_text(name: str, arguments: dict[str, Any], separators: tuple[str, str] = (", ", ": ")) -> str:
    return json.dumps({"function": {"_name": name, **arguments}}, separators=separators, ensure_ascii=False)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["weather", "time", "no_tool"]),
        ("auto", ["weather", "time", "no_tool"]),
        ("required", ["weather", "time"]),
        ("none", []),
        ("time", ["time"]),
        (TypedChoice(type="function", function=FunctionName(name="weather")), ["weather"]),
    ],
)
def test_the_choice_says_which_tools_may_be_called(choice: Any, names: list[str]) -> None:
    assert [tool.function.name for tool in offered([WEATHER, TIME], choice)] == names


def test_a_choice_that_is_not_offered_is_an_error() -> None:
    with pytest.raises(ToolError, match="Tool error: Tool with name rain not found"):
        offered([WEATHER], "rain")


@pytest.mark.parametrize(
    ("document", "is_call"),
    [
        ({"function": {"_name": "weather", "unit": "C"}}, True),
        ({"function": {"_name": "weather", "unit": "F", "days": 3}}, True),
        ({"function": {"_name": "time"}}, True),
        ({"function": {"_name": "weather"}}, False),
        ({"function": {"_name": "weather", "unit": "K"}}, False),
        ({"function": {"_name": "time", "unit": "C"}}, False),
        ({"function": {"_name": "rain"}}, False),
        ({"function": {"unit": "C"}}, False),
        ({}, False),
        ({"function": {"_name": "time"}, "more": 1}, False),
    ],
)
def test_the_grammar_admits_calls_of_the_tools_and_nothing_else(document: dict[str, Any], is_call: bool) -> None:
    grammar = call_grammar([WEATHER, TIME])
    assert jsonschema_rs.is_valid(grammar.value, document) is is_call


@given(name=NAMES, arguments=ARGUMENTS)
def test_a_call_is_read_with_its_name_and_arguments(name: str, arguments: dict[str, Any]) -> None:
    call = call_in(as_text(name, arguments))
    assert call is not None
    assert (call.id, call.type, call.function.name, call.function.arguments) == ("0", "function", name, arguments)


def test_the_choice_of_no_tool_is_no_call() -> None:
    assert call_in(as_text("no_tool", {})) is None


@pytest.mark.parametrize("text", ['{"function": {"_name": "a", "b', '{"function": {}}', "[]", ""])
def test_what_is_no_call_is_an_error(text: str) -> None:
    with pytest.raises(ToolError, match="Tool error: Failed to parse generated text: "):
        call_in(text)


@given(
    name=NAMES,
    arguments=ARGUMENTS,
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
    cuts=st.lists(st.integers(0, 200), max_size=30),
    ending=st.sampled_from(["", " ", "</s>"]),
)
def test_a_call_is_the_same_however_its_text_is_cut_into_tokens(
    name: str, arguments: dict[str, Any], separators: tuple[str, str], cuts: list[int], ending: str
) -> None:
    text = as_text(name, arguments, separators)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    reader = CallReader()
    pieces = [reader.add(text[start:stop]) for start, stop in itertools.pairwise(edges)]
    pieces.append(reader.add(ending))
    said = [piece for piece in pieces if piece is not None]
    assert [piece.name for piece in said] == [name] + [None] * (len(said) - 1)
    assert said[0].arguments.startswith("{")
    assert json.loads("".join(piece.arguments for piece in said)) == arguments


def test_the_choice_of_no_tool_is_known_as_soon_as_it_is_named() -> None:
    reader = CallReader()
    assert [reader.add(text) for text in ('{"function": {"_name": "no', '_tool"')] == [None, None]
    assert not reader.chose_no_tool
    reader.add("}")
    assert reader.chose_no_tool


def test_the_name_comes_with_the_brace_that_opens_the_arguments() -> None:
    """As TGI's first chunk has it: integration-tests/models/__snapshots__/test_tools_llama, 3.3.7."""
    reader = CallReader()
    tokens = [
        '{"',
        "function",
        '":',
        ' {"',
        "_",
        "name",
        '":',
        ' "',
        "get",
        "_weather",
        '",',
        ' "',
        "unit",
        '":',
        ' "C"',
    ]
    pieces = [reader.add(token) for token in [*tokens, "}}"]]
    assert pieces[:10] == [None] * 10
    assert [(piece.name, piece.arguments) for piece in pieces[10:] if piece] == [
        ("get_weather", "{"),
        (None, ' "'),
        (None, "unit"),
        (None, '":'),
        (None, ' "C"'),
        (None, "}"),
    ]
