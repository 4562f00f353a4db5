"""Texts under a grammar against `re` and `jsonschema`: whole ones match, cut ones can be continued to a match."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.engine.harness import Answer, ask, start_engine, submit_all
from tgi_autoround.engine import Engine, FinishReason, Grammar, Request, SamplingParams
from tgi_autoround.engine.grammar import Grammars, GrammarState
from tgi_autoround.engine.grammar.cache import KEPT_GRAMMARS
from tgi_autoround.errors import GrammarError

DEMO_MODEL = Path(__file__).parents[2] / "assets/demo-model"
PROMPT = list(range(40, 60))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = start_engine(DEMO_MODEL, quantize=None, max_batch_size=8, max_total_tokens=512)
    yield engine
    engine.stop()


def sampled(grammar: Grammar, seed: int = 0, max_new_tokens: int = 200) -> Request:
    return Request(PROMPT, SamplingParams(max_new_tokens, seed=seed, do_sample=True, grammar=grammar))


def is_prefix_of_json(text: str) -> bool:
    """Whether a JSON parser complains of the end only."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip()) - 6 or "Unterminated string" in error.msg
    return True


names = st.sampled_from(["name", "id", "tags", "größe", "a b"])
leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 5},
        {"type": "string", "pattern": "^[a-c]{2,4}$"},
        {"type": "integer"},
        {"type": "integer", "minimum": -3, "maximum": 120},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["red", "green", 3, None]},
        {"const": {"properties": 1}},
        {"type": ["string", "integer"]},
    ]
)


def objects_of(schemas: st.SearchStrategy[dict]) -> st.SearchStrategy[dict]:
    def build(properties: dict, required: list[str], closed: bool) -> dict:
        schema = {"type": "object", "properties": properties, "required": [n for n in required if n in properties]}
        return schema | ({"additionalProperties": False} if closed else {})

    return st.builds(build, st.dictionaries(names, schemas, max_size=3), st.lists(names, unique=True), st.booleans())


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        objects_of(inner),
        st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3)),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)


@given(batch=st.lists(objects_of(schemas), min_size=4, max_size=4), seed=st.integers(0, 2**63))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_under_random_schemas_are_documents_of_them(engine: Engine, batch: list[dict], seed: int) -> None:
    requests = [sampled(Grammar("json", json.dumps(schema)), seed) for schema in batch]
    for schema, answer in zip(batch, submit_all(engine, requests), strict=True):
        text = answer.finish.generated_text
        if answer.finish.reason is FinishReason.EOS_TOKEN:
            document = json.loads(text)
            jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
            assert set(document) <= set(schema["properties"])
        else:
            assert answer.finish.reason is FinishReason.LENGTH
            assert is_prefix_of_json(text)


patterns = st.recursive(
    st.sampled_from(["a", "[a-f]", r"\d", "[^x]", "ß", r"\.", "(?:yes|no)", "the "]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){{1,3}}".format, inner),
        st.builds("(?:{})?".format, inner),
    ),
    max_leaves=8,
)


@given(batch=st.lists(patterns, min_size=4, max_size=4), anchored=st.booleans(), seed=st.integers(0, 2**63))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_under_random_expressions_match_them(engine: Engine, batch: list[str], anchored: bool, seed: int) -> None:
    requests = [sampled(Grammar("regex", f"^{pattern}$" if anchored else pattern), seed) for pattern in batch]
    for pattern, answer in zip(batch, submit_all(engine, requests), strict=True):
        assert answer.finish.reason is FinishReason.EOS_TOKEN
        assert re.fullmatch(pattern, answer.finish.generated_text)


def test_a_text_cut_by_its_length_is_the_beginning_of_a_match(engine: Engine) -> None:
    answer = ask(engine, PROMPT, max_new_tokens=5, grammar=Grammar("regex", "(?:ab){40}"))
    assert answer.finish.reason is FinishReason.LENGTH
    assert ("ab" * 40).startswith(answer.finish.generated_text)
    assert answer.finish.generated_text


def test_rows_with_and_without_a_grammar_share_a_batch(engine: Engine) -> None:
    plain = Request(PROMPT, SamplingParams(max_new_tokens=30, do_sample=True, seed=4))
    (alone,) = submit_all(engine, [plain])
    crowd = [sampled(Grammar("regex", "[0-9]{20}"), seed=seed) for seed in range(3)]
    *digits, together = submit_all(engine, [*crowd, plain])
    assert together.token_ids == alone.token_ids
    assert all(re.fullmatch("[0-9]{20}", answer.finish.generated_text) for answer in digits)


def test_greedy_follows_a_grammar_too(engine: Engine) -> None:
    answer = ask(engine, PROMPT, max_new_tokens=20, grammar=Grammar("regex", "(?:red|green|blue)"), top_n_tokens=2)
    assert answer.finish.generated_text in ("red", "green", "blue")


def test_recursion_is_followed(engine: Engine) -> None:
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"kid": {"$ref": "#/$defs/node"}}}},
    }
    grammar = Grammar("json", json.dumps(tree))
    params = [SamplingParams(200, temperature=6.0, seed=seed, grammar=grammar) for seed in range(8)]
    answers = submit_all(engine, [Request(PROMPT, each) for each in params])
    whole = [answer.finish for answer in answers if answer.finish.reason is FinishReason.EOS_TOKEN]
    assert any(finish.generated_text.count("kid") > 1 for finish in whole)
    for finish in whole:
        jsonschema.validate(json.loads(finish.generated_text), tree)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("json", "{", "the JSON schema is not JSON"),
        ("json", "[]", "a JSON schema has to be an object"),
        ("json", '{"not": {"type": "string"}}', 'cannot be enforced: Unimplemented keys: \\["not"\\]'),
        ("json", '{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ("json", '{"type": "string", "format": "zip"}', "Unknown format: zip"),
        ("json", '{"$ref": "#/nowhere"}', "does not exist"),
        ("json", '{"x-guidance": {"lenient": true}, "not": {}}', "Unimplemented keys"),
        ("regex", "(", "the regular expression cannot be enforced: unclosed group"),
        ("regex", "(?=a)b", "look-around"),
        ("regex", r"(a)\1", "backreferences are not supported"),
    ],
)
def test_what_cannot_be_enforced_is_refused_in_a_sentence(engine: Engine, kind: str, text: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        engine.grammars.compile(Grammar(kind, text))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_least_recently_used_grammar_is_dropped_and_made_again(engine: Engine) -> None:
    grammars = [Grammar("regex", f"a{{{count}}}") for count in range(1, KEPT_GRAMMARS + 2)]
    for grammar in grammars:
        engine.grammars.compile(grammar)
    (answer,) = submit_all(engine, [sampled(grammars[0])])
    assert answer.finish.generated_text == "a"


def test_a_compiled_grammar_is_not_compiled_again_however_many_came_since(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = engine.grammars.compile(Grammar("regex", "[xyz]{7}"))
    for count in range(1, KEPT_GRAMMARS + 2):
        engine.grammars.compile(Grammar("regex", f"b{{{count}}}"))
    with monkeypatch.context() as patch:
        patch.setattr(Grammars, "_build", lambda _grammars, grammar: pytest.fail(f"{grammar} was compiled again"))
        answer = Answer()
        engine.submit(sampled(compiled), answer)
    assert answer.ended.wait(60)
    assert re.fullmatch("[xyz]{7}", answer.finish.generated_text)


def test_a_schema_put_together_of_parts_keeps_their_properties_open(engine: Engine) -> None:
    parts = [{"type": "object", "properties": {name: {"const": 1}}, "required": [name]} for name in "ab"]
    (answer,) = submit_all(engine, [sampled(Grammar("json", json.dumps({"allOf": parts})), max_new_tokens=400)])
    if answer.finish.reason is FinishReason.EOS_TOKEN:
        assert json.loads(answer.finish.generated_text).items() >= {"a": 1, "b": 1}.items()
    assert answer.failure is None


def allowed(state: GrammarState, vocabulary: int = 2048) -> set[int]:
    scores = torch.zeros(vocabulary)
    state.rule_out(scores)
    return set(scores.isfinite().nonzero()[:, 0].tolist())


def test_every_end_of_text_of_the_model_ends_a_match_and_nothing_else_does() -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    grammars = Grammars(tokenizer, frozenset([2, 7, 99_999]))
    state = grammars.start(Grammar("regex", "ab?"))
    assert state is not None
    (letter_a,), (letter_b,) = (tokenizer.encode(letter, add_special_tokens=False) for letter in "ab")
    assert {2, 7}.isdisjoint(allowed(state))
    assert letter_a in allowed(state)
    state.accept(letter_a)
    assert allowed(state) == {2, 7, letter_b}
    assert allowed(state, vocabulary=2112) == {2, 7, letter_b}
    state.accept(letter_a)
    assert state.failure is not None
    assert allowed(state) == set()


def test_a_model_without_an_end_of_text_takes_no_grammar() -> None:
    grammars = Grammars(AutoTokenizer.from_pretrained(DEMO_MODEL), frozenset())
    with pytest.raises(GrammarError, match="names none"):
        grammars.compile(Grammar("regex", "a"))


def test_a_request_whose_grammar_breaks_down_fails_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = GrammarState.accept
    with monkeypatch.context() as patch:
        patch.setattr(GrammarState, "accept", lambda state, _token: accept(state, 5))
        plain = Request(PROMPT, SamplingParams(max_new_tokens=10))
        broken, other = submit_all(engine, [sampled(Grammar("regex", "[0-9]{9}")), plain])
    assert broken.failure is not None
    assert "the grammar could not be followed: " in broken.failure.message
    assert "\n" not in broken.failure.message
    assert other.finish.generated_tokens == 10


class PanickingMatcher:
    """Stands for llguidance's, whose panics, as of all Rust code, are no Exceptions."""

    def compute_bitmask(self) -> bytes:
        raise BaseException("injected\nand more")


def test_a_matcher_that_panics_fails_its_request_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine.grammars, "start", lambda grammar: grammar and GrammarState(PanickingMatcher()))
        plain = Request(PROMPT, SamplingParams(max_new_tokens=10))
        broken, other = submit_all(engine, [sampled(Grammar("regex", "[0-9]{9}")), plain])
    assert broken.failure is not None
    assert broken.failure.message == "the grammar could not be followed: the matcher broke down: injected"
    assert other.finish.generated_tokens == 10
    assert engine.healthy()
