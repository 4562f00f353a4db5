import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgi_autoround.checkpoint.patterns import compile_pattern
from tgi_autoround.errors import CheckpointError, UnsupportedError

LAYER = "model.layers.12.mlp.experts.3.gate_proj"
WRITTEN = [
    ".*mlp.gate.*",
    r"model\.layers\.(0|1|12)\..*",
    r"^model\.layers\.\d+\.mlp\.experts\.\d+\.(gate|up)_proj$",
    r".*\.(?:1[0-5])\..*(?:gate|down).*",
    r"^(?!.*self_attn).*_proj$",
    r"(?=.*gate)(?!.*up)",
    r"layers\.1{1,2}\.",
    r"layers\.\d{2}\.mlp",
    r"[^\d.]+_pro\w\Z",
    r"\bgate_proj\b",
    r"(\.\d+)?\.gate",
    "gate_proj|up_proj",
    "lm_head",
    "",
]

atoms = st.sampled_from([*"ab.", r"\.", r"\d", r"\w", "[ab]", "[^a]", "[0-9a]", "^", "$", r"\b", r"\B", r"\Z"])
repeated = st.tuples(
    st.sampled_from(["a", ".", "[ab]", "(?:ab)"]), st.sampled_from(["*", "+", "{2}", "{1,3}", "*?"])
).map("".join)
expressions = st.recursive(
    atoms | repeated,
    lambda inner: (
        st.lists(inner, max_size=4).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})")
        | inner.map(lambda part: f"(?:{part})?")
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("pattern", WRITTEN)
def test_expressions_that_configs_hold_find_what_re_finds(pattern: str) -> None:
    for name in (LAYER, LAYER.replace("gate", "up"), LAYER.replace("12", "1"), "lm_head"):
        assert compile_pattern(pattern, "here").search(name) == bool(re.search(pattern, name)), name


@given(pattern=expressions, name=st.text("ab0.", max_size=8))
def test_any_expression_finds_what_re_finds(pattern: str, name: str) -> None:
    assert compile_pattern(pattern, "here").search(name) == bool(re.search(pattern, name))


@pytest.mark.parametrize("pattern", ["a?" * 40 + "a" * 40, "(a|a)" * 40 + "b", "a*" * 60 + "b", ".*.*.*.*.*.*.*=.*"])
def test_expressions_that_make_re_hang_are_matched_in_time(pattern: str) -> None:
    started = time.monotonic()
    compile_pattern(pattern, "here").search("a" * 200)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("pattern", "error", "words"),
    [
        ("(a+)+$", UnsupportedError, "inside another"),
        ("((?=a*)b)*", UnsupportedError, "inside another"),
        (r"(a)\1", UnsupportedError, "groupref"),
        ("(?<=a)b", UnsupportedError, "lookbehind"),
        ("(?i)a", UnsupportedError, "flags"),
        ("(?i:a)", UnsupportedError, "flags"),
        ("(" * 20 + ")" * 20, UnsupportedError, "levels of groups"),
        ("a" * 1001, UnsupportedError, "1001 characters"),
        ("a(", CheckpointError, "neither a layer name nor a regular expression"),
        ("a{99999999999}", CheckpointError, "neither a layer name nor a regular expression"),
    ],
)
def test_what_cannot_be_matched_in_bounded_time_is_refused(pattern: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        compile_pattern(pattern, "here")
