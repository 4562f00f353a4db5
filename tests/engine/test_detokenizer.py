import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models import make_tokenizer
from tgi_autoround.engine.detokenizer import Detokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@given(prompt=st.text(max_size=20), text=st.text(min_size=1, max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_join_to_the_text_and_split_no_character(tokenizer, prompt: str, text: str) -> None:
    detokenizer = Detokenizer(tokenizer, tokenizer.encode(prompt, add_special_tokens=False))
    pieces = [detokenizer.add(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    assert "".join(pieces) == text.removesuffix("\N{REPLACEMENT CHARACTER}") or "".join(pieces) == text
    assert detokenizer.generated_text() == text


def test_an_emoji_of_four_byte_tokens_comes_out_whole(tokenizer) -> None:
    tokens = tokenizer.encode("\N{ROCKET}", add_special_tokens=False)
    detokenizer = Detokenizer(tokenizer, [])
    pieces = [detokenizer.add(token) for token in tokens]
    assert len(tokens) > 1
    assert pieces == ["", *[""] * (len(tokens) - 2), "\N{ROCKET}"]


def test_special_tokens_are_in_the_stream_but_not_in_the_text(tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer, [])
    assert detokenizer.add(tokenizer.eos_token_id) == tokenizer.eos_token
    assert detokenizer.generated_text() == ""
