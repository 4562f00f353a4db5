"""Tools in a chat: what the model is told, what it is held to, and how its call is given to the client."""

import json
from typing import Any

import pytest

from tests.server.live import LiveServer

QUESTION = {"role": "user", "content": "What is the weather?"}
WEATHER = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["unit", "days"],
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Says it.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
CALL = {"messages": [QUESTION], "max_tokens": 60, "temperature": 0.0, "tools": TOOLS}


def chat(server: LiveServer, **fields: Any) -> dict[str, Any]:
    response = server.post("/v1/chat/completions", {**CALL, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def templated(server: LiveServer, **fields: Any) -> str:
    return server.post("/chat_tokenize", {**CALL, **fields}).json()["templated_text"]


def assert_is_weather_call(function: dict[str, Any]) -> None:
    arguments = json.loads(function["arguments"])
    assert function["name"] == "weather"
    assert set(arguments) == {"unit", "days"}
    assert arguments["unit"] in ("celsius", "fahrenheit")
    assert arguments["days"] in (1, 2, 3)


def test_the_tools_are_told_after_the_last_message(server: LiveServer) -> None:
    """The template of the served model knows no tools, so TGI writes them into the message, arguments as a string."""
    told = [
        {
            "type": "function",
            "function": {
                "description": tool["function"].get("description"),
                "name": tool["function"]["name"],
                "arguments": json.dumps(tool["function"]["parameters"], separators=(",", ":")),
            },
        }
        for tool in TOOLS
    ]
    plain = templated(server, tools=None)
    text = templated(server, tool_choice="required", tool_prompt="Call one.")
    tools = json.dumps(told, separators=(",", ":"))
    assert text == plain.replace(QUESTION["content"], f"{QUESTION['content']}\n---\n{tools}\nCall one.")


def test_the_prompt_about_tools_has_a_default(server: LiveServer) -> None:
    expected = "\n\nGiven the functions available, please respond with a JSON for a function call with its proper"
    assert expected in templated(server)
    assert templated(server, tool_prompt="") == templated(server)


def test_auto_also_offers_no_tool(server: LiveServer) -> None:
    assert '"name":"no_tool"' in templated(server)
    assert '"name":"no_tool"' not in templated(server, tool_choice="required")


@pytest.mark.parametrize("choice", ["weather", {"type": "function", "function": {"name": "weather"}}])
def test_a_named_tool_is_called(server: LiveServer, choice: Any) -> None:
    answer = chat(server, tool_choice=choice)
    (choice,) = answer["choices"]
    (call,) = choice["message"].pop("tool_calls")
    assert choice == {"index": 0, "message": {"role": "assistant"}, "logprobs": None, "finish_reason": "stop"}
    assert_is_weather_call(call["function"])
    assert (call["id"], call["type"], call["function"]["description"]) == ("0", "function", None)
    assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_is_of_one_of_the_tools(server: LiveServer, seed: int) -> None:
    answer = chat(server, tool_choice="required", temperature=1.0, seed=seed)
    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    if function["name"] == "now":
        assert json.loads(function["arguments"]) == {}
    else:
        assert_is_weather_call(function)


@pytest.mark.parametrize("tool", ["weather", "now"])
def test_a_stream_gives_the_same_call_in_pieces(server: LiveServer, tool: str) -> None:
    whole = chat(server, tool_choice=tool)["choices"][0]["message"]["tool_calls"][0]["function"]
    usage_last = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = server.events("/v1/chat/completions", {**CALL, "tool_choice": tool, **usage_last})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls = [call for delta in deltas for call in delta["tool_calls"]]
    assert done == "[DONE]"
    assert usage["usage"] == chat(server, tool_choice=tool)["usage"]
    assert {(call["index"], call["id"], call["type"]) for call in calls} == {(0, "0", "function")}
    assert [call["function"]["name"] for call in calls] == [tool] + [None] * (len(calls) - 1)
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(arguments) == json.loads(whole["arguments"])


def test_the_choice_of_no_tool_is_answered_with_text(server: LiveServer) -> None:
    """Where no tools are offered, the one that stands for none is all the model can choose."""
    text = chat(server, tools=None)["choices"][0]["message"]
    assert chat(server, tools=[])["choices"][0]["message"] == text
    *chunks, done = server.events("/v1/chat/completions", {**CALL, "tools": [], "stream": True})
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == text["content"].rstrip("\ufffd")
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_that_chose_no_tool_is_one_request_and_none_dropped(server: LiveServer, stream: bool) -> None:
    def counts() -> list[float]:
        names = [("tgi_request_count", ""), ("tgi_request_success", ""), ("tgi_request_failure", '{err="dropped"}')]
        return [server.metric(*name) for name in names]

    asked, succeeded, dropped = counts()
    with server.http.stream("POST", "/v1/chat/completions", json={**CALL, "tools": [], "stream": stream}) as response:
        response.read()
    assert counts() == [asked + 1, succeeded + 1, dropped]


def test_a_call_that_is_cut_short_is_an_error(server: LiveServer) -> None:
    response = server.post("/v1/chat/completions", {**CALL, "tool_choice": "weather", "max_tokens": 3})
    assert (response.status_code, response.json()["error_type"]) == (422, "tool_error")
    assert response.json()["error"].startswith("Tool error: Failed to parse generated text: ")


def test_earlier_calls_are_told_and_counted(server: LiveServer) -> None:
    function = {"name": "weather", "description": None, "arguments": {"unit": "celsius", "days": 1}}
    call = {"role": "assistant", "tool_calls": [{"id": "4", "type": "function", "function": function}]}
    messages = [QUESTION, call, {"role": "tool", "content": "Rain.", "tool_call_id": "4"}]
    told = (
        '[{"id":"4","type":"function","function":{"description":null,"name":"weather",'
        '"arguments":"{\\"unit\\":\\"celsius\\",\\"days\\":1}"}}]'
    )
    assert f"assistant: {told}\ntool: Rain." in templated(server, messages=messages, tools=None)
    fields = {"messages": messages, "tool_choice": "weather", "stream": True}
    chunk = server.events("/v1/chat/completions", {**CALL, **fields})[0]
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["id"] == "5"


def test_ids_that_are_no_numbers_are_followed_by_a_new_one(server: LiveServer) -> None:
    function = {"name": "weather", "arguments": "{}"}
    call = {"role": "assistant", "tool_calls": [{"id": "call_a", "type": "function", "function": function}]}
    fields = {"messages": [QUESTION, call], "tool_choice": "weather", "stream": True}
    chunk = server.events("/v1/chat/completions", {**CALL, **fields})[0]
    assert len(chunk["choices"][0]["delta"]["tool_calls"][0]["id"]) == 36


def test_the_schema_of_a_tool_has_to_be_one(server: LiveServer) -> None:
    function = {"name": "f", "parameters": {"properties": {"a": {"type": "nonsense"}}}}
    response = server.post("/v1/chat/completions", {**CALL, "tools": [{"type": "function", "function": function}]})
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")
    assert response.json()["error"].startswith("Input validation error: grammar is not valid: ")
