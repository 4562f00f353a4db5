"""Requests that are wrong get TGI's status, error type and words."""

import pytest

from tests.server.live import LiveServer

PARAMETER_ERRORS = [
    ({"temperature": 0.0}, "`temperature` must be strictly positive"),
    ({"repetition_penalty": 0.0}, "`repetition_penalty` must be strictly positive"),
    ({"frequency_penalty": 2.1}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
    ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
    ({"typical_p": 0.0}, "`typical_p` must be > 0.0 and < 1.0"),
    ({"top_k": -1}, "`top_k` must be strictly positive"),
    ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
    ({"stop": list("abcde")}, "`stop` supports up to 4 stop sequences. Given: 5"),
    ({"truncate": 0}, "`truncate` must be strictly positive and less than 2047. Given: 0"),
    ({"truncate": 2048}, "`truncate` must be strictly positive and less than 2047. Given: 2048"),
    ({"best_of": 3, "do_sample": True}, "`best_of` must be > 0 and <= 2. Given: 3"),
    ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
    ({"best_of": 2, "do_sample": True, "seed": 1}, "`seed` must not be set when `best_of` > 1"),
    ({"top_n_tokens": 6}, "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
    ({"grammar": {"type": "json", "value": 1}}, "grammar is not supported"),
    ({"grammar": {"type": "json", "value": {}}}, "grammar is not valid: Grammar must have a 'properties' field"),
    (
        {"grammar": {"type": "json_schema", "value": {"schema": True}}},
        "grammar is not valid: Grammar must have a 'properties' field",
    ),
    ({"grammar": {"type": "json", "value": {"properties": 3}}}, 'grammar is not valid: 3 is not of type "object"'),
    (
        {"grammar": {"type": "json_object", "value": '{"type": "nonsense", "properties": {}}'}},
        "grammar is not valid: \"nonsense\" is not valid under any of the schemas listed in the 'anyOf' keyword",
    ),
]
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHAT_ERRORS = [
    ({"temperature": -1.0}, "validation", "Input validation error: `temperature` must be strictly positive"),
    (
        {"presence_penalty": -2.0},
        "validation",
        "Input validation error: `repetition_penalty` must be strictly positive",
    ),
    (
        {"top_logprobs": 6},
        "validation",
        "Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: 6",
    ),
    (
        {"response_format": {"type": "json", "value": {}}},
        "validation",
        "Input validation error: grammar is not valid: Grammar must have a 'properties' field",
    ),
    ({"n": 2}, "validation", "Input validation error: `n` != 1 is not supported"),
    ({"logit_bias": [1.0]}, "validation", "Input validation error: `logit_bias` is not supported"),
    ({"tools": [TOOL], "tool_choice": "g"}, "tool_error", "Tool error: Tool with name g not found"),
    (
        {"tools": [], "response_format": {"type": "regex", "value": "a"}},
        "tool_error",
        "Tool error: Grammar and tools are mutually exclusive",
    ),
    (
        {"tools": [TOOL], "response_format": {"type": "json", "value": {}}},
        "tool_error",
        "Tool error: Grammar and tools are mutually exclusive",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]},
        "validation",
        "Input validation error: image modality is not supported",
    ),
]
UNREADABLE_BODIES = [
    (b'{"inputs": ', 400, "Failed to parse the request body as JSON: "),
    (b"", 400, "Failed to parse the request body as JSON: EOF while parsing a value"),
    (b'{"inputs": "\xff"}', 400, "Failed to parse the request body as JSON: "),
    (b'{"inputs": "\\ud800"}', 400, "Failed to parse the request body as JSON: "),
    (b'{"inputs": ' + b"[" * 5000, 400, "Failed to parse the request body as JSON: "),
    (
        b'{"inputs": ' + b"[" * 128 + b"1" + b"]" * 128 + b"}",
        400,
        "Failed to parse the request body as JSON: recursion",
    ),
    (b'{"inputs": ' + b"[" * 127 + b"1" + b"]" * 127 + b"}", 422, "Failed to deserialize the JSON body into the"),
    (b"{}", 422, "Failed to deserialize the JSON body into the target type: missing field `inputs`"),
    (b'{"inputs": 1}', 422, "Failed to deserialize the JSON body into the target type: inputs: "),
    (b'{"inputs": "a", "parameters": null}', 422, "Failed to deserialize the JSON body into the target type: "),
    (
        b'{"inputs": "a", "parameters": {"temperature": "1"}}',
        422,
        "Failed to deserialize the JSON body into the target type: parameters.temperature: ",
    ),
    (
        b'{"inputs": "a", "parameters": {"temperature": NaN}}',
        400,
        "Failed to parse the request body as JSON: ",
    ),
    (
        b'{"inputs": "a", "parameters": {"max_new_tokens": -1}}',
        422,
        "Failed to deserialize the JSON body into the target type: parameters.max_new_tokens: ",
    ),
]


@pytest.mark.parametrize(("parameters", "message"), PARAMETER_ERRORS)
def test_a_wrong_parameter_is_refused_in_tgis_words(
    server: LiveServer, parameters: dict[str, object], message: str
) -> None:
    body = {"inputs": "a", "parameters": parameters}
    response = server.post("/generate", body)
    assert response.status_code == 422
    assert response.json() == {"error": f"Input validation error: {message}", "error_type": "validation"}


@pytest.mark.parametrize("path", ["/generate_stream", "/"])
def test_a_stream_tells_of_the_error_in_an_event(server: LiveServer, path: str) -> None:
    body = {"inputs": "a", "parameters": {"top_p": 2.0}, "stream": True}
    message = "Input validation error: `top_p` must be > 0.0 and < 1.0"
    assert server.events(path, body) == [{"error": message, "error_type": "validation"}]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"best_of": 2, "do_sample": True}, "`best_of` != 1 is not supported when streaming tokens"),
        ({"decoder_input_details": True}, "`decoder_input_details` == true is not supported when streaming tokens"),
    ],
)
def test_a_stream_refuses_what_needs_a_whole_answer(
    server: LiveServer, parameters: dict[str, object], message: str
) -> None:
    (event,) = server.events("/generate_stream", {"inputs": "a", "parameters": parameters})
    assert event["error"] == f"Input validation error: {message}"


def test_an_empty_prompt_is_refused(server: LiveServer) -> None:
    assert (
        server.post("/generate", {"inputs": ""}).json()["error"] == "Input validation error: `inputs` cannot be empty"
    )


def test_a_long_output_is_refused_when_its_first_1024_tokens_do_not_fit(server: LiveServer) -> None:
    inputs = "list " * 1200
    tokens = len(server.post("/tokenize", {"inputs": inputs}).json())
    assert 1024 < tokens < 2047
    response = server.post("/generate", {"inputs": inputs, "parameters": {"max_new_tokens": 5000}})
    assert response.json()["error"] == (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. "
        f"Given: {tokens} `inputs` tokens and 1024 `max_new_tokens`"
    )


def test_a_long_prompt_is_refused(small_server: LiveServer) -> None:
    inputs = "list " * 60
    tokens = len(small_server.post("/tokenize", {"inputs": inputs}).json())
    response = small_server.post("/generate", {"inputs": inputs, "parameters": {"max_new_tokens": 1}})
    assert response.json()["error"] == (
        f"Input validation error: `inputs` must have less than 50 tokens. Given: {tokens}"
    )


@pytest.mark.parametrize(("fields", "error_type", "message"), CHAT_ERRORS)
def test_a_wrong_chat_is_refused_in_tgis_words(
    server: LiveServer, fields: dict[str, object], error_type: str, message: str
) -> None:
    response = server.post("/v1/chat/completions", {**CHAT, **fields})
    assert (response.status_code, response.json()) == (422, {"error": message, "error_type": error_type})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_an_openai_stream_tells_of_the_error_and_ends(server: LiveServer, path: str) -> None:
    body = {**CHAT, "prompt": "a", "top_p": 2.0, "stream": True}
    message = "Input validation error: `top_p` must be > 0.0 and < 1.0"
    assert server.events(path, body) == [{"error": {"message": message, "http_status_code": 422}}, "[DONE]"]


@pytest.mark.parametrize(
    ("fields", "error_type", "message"),
    [
        (
            {"suffix": "x"},
            "suffix not supported",
            "Suffix is not supported and can be achieved by preprocessing the prompt.",
        ),
        (
            {"prompt": ["a"] * 5},
            "batch size exceeded",
            "Number of prompts exceeds the maximum allowed batch size of 4",
        ),
    ],
)
def test_completions_have_errors_of_their_own(
    server: LiveServer, fields: dict[str, object], error_type: str, message: str
) -> None:
    response = server.post("/v1/completions", {"prompt": "a", **fields})
    assert (response.status_code, response.json()) == (422, {"error": message, "error_type": error_type})


@pytest.mark.parametrize(("body", "status", "opening"), UNREADABLE_BODIES)
def test_a_body_that_does_not_fit_gets_plain_text(server: LiveServer, body: bytes, status: int, opening: str) -> None:
    response = server.http.post("/generate", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text.startswith(opening)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": []}),
        ("/v1/completions", {"prompt": "a", "stop": "x"}),
        ("/v1/chat/completions", {"messages": [{"role": "user"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "stop": "x"}),
    ],
)
def test_a_field_of_the_wrong_type_gets_plain_text(server: LiveServer, path: str, body: dict[str, object]) -> None:
    response = server.post(path, body)
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("text/plain")


def test_a_body_that_is_not_declared_json_is_refused(server: LiveServer) -> None:
    response = server.http.post("/generate", content=b'{"inputs": "a"}')
    assert (response.status_code, response.text) == (415, "Expected request with `Content-Type: application/json`")


def test_unknown_routes_and_methods_have_no_body(server: LiveServer) -> None:
    assert [(r.status_code, r.text) for r in (server.http.get("/nope"), server.http.get("/generate"))] == [
        (404, ""),
        (405, ""),
    ]


def test_unknown_fields_are_ignored(server: LiveServer) -> None:
    body = {"inputs": "a", "parameters": {"max_new_tokens": 1, "nonsense": 1}, "more": {}}
    assert server.post("/generate", body).status_code == 200


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions", "/v1/completions"])
def test_an_unknown_adapter_is_the_model_itself(server: LiveServer, path: str) -> None:
    """As in TGI, where the name of any model may stand in a request to any other."""
    body = {**CHAT, "prompt": "hi", "inputs": "hi", "temperature": 0.0, "max_tokens": 4}
    plain = server.post(path, {**body, "parameters": {"max_new_tokens": 4}}).json()
    parameters = {"max_new_tokens": 4, "adapter_id": "nobodys"}
    named = server.post(path, {**body, "model": "nobodys", "parameters": parameters}).json()
    for answer in (plain, named):
        answer.pop("created", None)
        answer.pop("model", None)
    assert named == plain


def test_a_path_with_a_slash_too_many_is_not_found(server: LiveServer) -> None:
    assert server.post("/generate/", {"inputs": "A"}).status_code == 404


def test_no_more_than_one_choice_is_asked_for_by_n_0(server: LiveServer) -> None:
    response = server.post("/v1/chat/completions", {**CHAT, "n": 0, "max_tokens": 2})
    assert (response.status_code, len(response.json()["choices"])) == (200, 1)
