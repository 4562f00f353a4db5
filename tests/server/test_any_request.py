"""Whatever a client sends, the answer is TGI's: a result, or an error that says what is wrong."""

import json
import math
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.live import LiveServer

NUMBERS = st.one_of(st.integers(-3, 60), st.integers(), st.floats())
ANYTHING = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.lists(st.text(max_size=3), max_size=6))
PARAMETERS = st.fixed_dictionaries(
    {"max_new_tokens": st.integers(-1, 3)},
    optional={
        **dict.fromkeys(
            ("temperature", "top_p", "typical_p", "repetition_penalty", "frequency_penalty"),
            st.one_of(st.none(), st.floats(-3, 3), st.floats(), st.just(1e-300)),
        ),
        **dict.fromkeys(("top_k", "seed", "truncate", "best_of", "top_n_tokens"), st.one_of(st.none(), NUMBERS)),
        **dict.fromkeys(("do_sample", "details", "watermark", "decoder_input_details"), st.booleans()),
        **dict.fromkeys(("grammar", "adapter_id", "stop"), ANYTHING),
    },
)
INPUTS = st.one_of(st.text(st.characters(codec=None), max_size=20), ANYTHING)
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@given(inputs=INPUTS, parameters=PARAMETERS)
@FUZZ
def test_generate_answers_any_parameters(server: LiveServer, inputs: Any, parameters: dict[str, Any]) -> None:
    body = _json({"inputs": inputs, "parameters": parameters})
    response = server.http.post("/generate", content=body, headers={"content-type": "application/json"})
    if response.status_code == 200:
        assert isinstance(response.json()["generated_text"], str)
        for token in response.json().get("details", {}).get("tokens", []):
            assert math.isfinite(token["logprob"])
    elif response.headers["content-type"].startswith("text/plain"):
        assert response.status_code in (400, 422)
        assert response.text.startswith("Failed to ")
    else:
        assert (response.status_code, response.json()["error_type"]) == (422, "validation")


@given(fields=st.dictionaries(st.sampled_from(["messages", "stop", "tools", "tool_choice", "n", "stream"]), ANYTHING))
@FUZZ
def test_chat_answers_any_fields(server: LiveServer, fields: dict[str, Any]) -> None:
    body = _json({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, **fields})
    response = server.http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 422)


def _json(value: Any) -> bytes:
    """Lone surrogates stay escaped and NaN stays NaN, as careless clients send them."""
    return json.dumps(value).encode()
