"""What compiling a grammar makes of it and may cost. Texts under grammars are tested in test_grammar.py."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from transformers import AutoTokenizer

from tgi_autoround.engine import Grammar
from tgi_autoround.engine.grammar import Grammars
from tgi_autoround.errors import GrammarError

DEMO_MODEL = Path(__file__).parents[2] / "assets/demo-model"
TGIS_EXAMPLE = {
    "properties": {
        "location": {"type": "string"},
        "activity": {"type": "string"},
        "animals_seen": {"type": "integer", "minimum": 1, "maximum": 5},
        "animals": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["location", "activity", "animals_seen", "animals"],
}
"""Of TGI's documentation, using_guidance.md (3.3.7)."""
MEMORY_OF_EXPRESSIONS = """
import sys
from transformers import AutoTokenizer
from tgi_autoround.engine import Grammar
from tgi_autoround.engine.grammar import Grammars
from tgi_autoround.errors import GrammarError

def resident_bytes():
    with open("/proc/self/statm") as counts:
        return int(counts.read().split()[1]) * 4096

grammars = Grammars(AutoTokenizer.from_pretrained(sys.argv[1]), frozenset([2]))
grammars.compile(Grammar("regex", "x"))
before = resident_bytes()
for length in range(990, 996):
    try:
        grammars.compile(Grammar("regex", "((y{%d}){1000})" % length))
    except GrammarError:
        pass
print(resident_bytes() - before)
"""


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(AutoTokenizer.from_pretrained(DEMO_MODEL), frozenset([2]))


def takes(grammars: Grammars, grammar: Grammar, text: str) -> bool:
    """Whether `text`, then its end, may be generated."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    state = grammars.start(grammar)
    assert state is not None
    for token_id in (*tokenizer.encode(text, add_special_tokens=False), 2):
        scores = torch.zeros(len(tokenizer))
        state.rule_out(scores)
        if not scores[token_id].isfinite():
            return False
        state.accept(token_id)
    return True


DOCUMENT = {"location": "park", "activity": "ride", "animals_seen": 3, "animals": ["cat"]}


@pytest.mark.parametrize("nested", [False, True])
def test_a_schema_with_properties_makes_an_object_where_it_names_no_type(grammars: Grammars, nested: bool) -> None:
    schema = {"properties": {"a": TGIS_EXAMPLE}, "required": ["a"]} if nested else TGIS_EXAMPLE
    document = {"a": DOCUMENT} if nested else DOCUMENT
    grammar = Grammar("json", json.dumps(schema))
    jsonschema.validate(document, schema)
    assert takes(grammars, grammar, json.dumps(document))
    for other in ("null", "3", "[]", '"park"', '{"a": null}', "{}"):
        assert not takes(grammars, grammar, other), other


def test_a_type_that_a_schema_names_stays(grammars: Grammars) -> None:
    grammar = Grammar("json", json.dumps({"type": ["object", "null"], "properties": {"a": {"const": 1}}}))
    assert takes(grammars, grammar, "null")
    assert takes(grammars, grammar, '{"a": 1}')
    assert not takes(grammars, grammar, "3")


@pytest.mark.parametrize("pattern", ["(x{1000}){1000}", "x{100000}"])
def test_what_breaks_a_limit_after_its_first_token_is_refused_when_compiled(grammars: Grammars, pattern: str) -> None:
    with pytest.raises(GrammarError, match="cannot be enforced: lexer error: too many expressions"):
        grammars.compile(Grammar("regex", pattern))


@pytest.mark.parametrize("pattern", ["", "a?", "x{1000}", r"(.{1,500}\n){1,30}", r"\w{1,64}@\w{1,64}\.\w{2,10}"])
def test_ordinary_expressions_stay_within_the_limits(grammars: Grammars, pattern: str) -> None:
    grammars.compile(Grammar("regex", pattern))


def test_short_expressions_do_not_take_the_memory() -> None:
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_EXPRESSIONS, str(DEMO_MODEL)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(result.stdout) < 150e6
