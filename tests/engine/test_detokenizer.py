import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

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


def test_a_tokenizer_that_decodes_in_its_own_way_is_asked(tokenizer, tmp_path: Path) -> None:
    class Shouting(PreTrainedTokenizerFast):
        def decode(self, *arguments, **options) -> str:
            return super().decode(*arguments, **options).upper()

    tokenizer.save_pretrained(tmp_path)
    detokenizer = Detokenizer(Shouting.from_pretrained(tmp_path), [])
    assert "".join(map(detokenizer.add, tokenizer.encode("once more", add_special_tokens=False))) == "ONCE MORE"


def test_blanks_before_punctuation_go_where_the_tokenizer_says_so(tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {
        "clean_up_tokenization_spaces": True,
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    cleaning = AutoTokenizer.from_pretrained(tmp_path)
    ids = cleaning.encode("well , yes", add_special_tokens=False)
    detokenizer = Detokenizer(cleaning, [])
    for token_id in ids:
        detokenizer.add(token_id)
    assert detokenizer.generated_text() == cleaning.decode(ids) == "well, yes"
