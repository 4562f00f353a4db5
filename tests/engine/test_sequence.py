"""When a text ends, against TGI's own rule: a search for `<stop sequence>$` after each token."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models import make_tokenizer
from tgi_autoround.engine.request import FinishReason, Request, SamplingParams
from tgi_autoround.engine.sampling import Choice
from tgi_autoround.engine.sequence import Sequence
from tgi_autoround.engine.token_texts import TokenTexts


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    """One with tokens that go on after a stop sequence, with a line break and otherwise."""
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.add_tokens(["b\n", "a.\n", "ba"])
    return tokenizer


texts = st.text("ab\n.", min_size=1, max_size=12)


@given(text=texts, stop=st.lists(st.text("ab\n.", min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_stops_where_tgi_stops(tokenizer, text: str, stop: list[str]) -> None:
    sequence = Sequence.of(Request([5], SamplingParams(99, stop=tuple(stop))), print, tokenizer)
    shown = ""
    for token_id in tokenizer.encode(text, add_special_tokens=False):
        output = sequence.add(Choice(token_id, 0.0), TokenTexts(tokenizer), is_eos=False)
        shown += output.token.text
        if any(re.search(f"{re.escape(each)}$", shown) for each in stop):
            assert output.finish is not None
            assert output.finish.reason is FinishReason.STOP_SEQUENCE
            assert output.finish.generated_text == shown
            return
        assert output.finish is None


def test_the_last_allowed_token_ends_by_length_even_where_it_is_the_end_of_text(tokenizer) -> None:
    sequence = Sequence.of(Request([5], SamplingParams(1)), print, tokenizer)
    output = sequence.add(Choice(tokenizer.eos_token_id, 0.0), TokenTexts(tokenizer), is_eos=True)
    assert output.finish is not None
    assert output.finish.reason is FinishReason.LENGTH
