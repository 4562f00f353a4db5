"""Grammar -> matcher, the most recently used of which are kept."""

import dataclasses
import json
import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tgi_autoround.engine.grammar.json_schema import close_objects, combines_schemas
from tgi_autoround.engine.grammar.state import GrammarState
from tgi_autoround.engine.request import Grammar
from tgi_autoround.errors import GrammarError

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

KEPT_GRAMMARS = 16
_LIMITS = LLParserLimits(initial_lexer_fuel=200_000)
"""A fifth of llguidance's own, which lets a short expression such as (x{1000}){1000} take seconds and 170 MB."""
_JSON_OPTIONS: "JsonCompileOptions" = {"whitespace_flexible": True, "whitespace_pattern": "[ ]?", "lenient": False}
"""At most one space, as TGI has it: a model that may write blanks without end does. No keyword is ignored."""


class Grammars:
    """The grammars of one tokenizer. All methods may be called from any thread."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos_token_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._eos_token_ids = sorted(eos_token_ids)
        self._vocabulary: LLTokenizer | None = None
        self._matchers: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._building = threading.Lock()
        self._looking_up = threading.Lock()

    def compile(self, grammar: Grammar) -> Grammar:
        """Return the grammar made ready, which may take a second for the first of a large vocabulary.

        Raises GrammarError where it is malformed or asks for what cannot be enforced.
        """
        return dataclasses.replace(grammar, matcher=self._matcher(grammar))

    def compiled(self, grammar: Grammar) -> Grammar | None:
        """Return the grammar made ready where it is one of those kept."""
        matcher = self._kept(grammar)
        return dataclasses.replace(grammar, matcher=matcher) if matcher else None

    def start(self, grammar: Grammar | None) -> GrammarState | None:
        """Return the place before the first token. Compiles a grammar that is not one which `compile` returned."""
        if grammar is None:
            return None
        return GrammarState((grammar.matcher or self._matcher(grammar)).deep_copy())

    def _matcher(self, grammar: Grammar) -> LLMatcher:
        matcher = self._kept(grammar)
        if matcher is None:
            matcher = self._build(grammar)
            self._keep(grammar, matcher)
        return matcher

    def _kept(self, grammar: Grammar) -> LLMatcher | None:
        with self._looking_up:
            if grammar in self._matchers:
                self._matchers.move_to_end(grammar)
            return self._matchers.get(grammar)

    def _keep(self, grammar: Grammar, matcher: LLMatcher) -> None:
        with self._looking_up:
            self._matchers[grammar] = matcher
            if len(self._matchers) > KEPT_GRAMMARS:
                self._matchers.popitem(last=False)

    def _build(self, grammar: Grammar) -> LLMatcher:
        source = _from_json_schema(grammar.text) if grammar.kind == "json" else _from_regex(grammar.text)
        vocabulary = self._tokens()
        matcher = LLMatcher(vocabulary, source, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _refusal(grammar, matcher.get_error())
        failure = _failure_within_a_token(matcher, vocabulary)
        if failure is not None:
            raise _refusal(grammar, failure)
        matcher.reset()
        return matcher

    def _tokens(self) -> LLTokenizer:
        with self._building:
            if self._vocabulary is None:
                self._vocabulary = self._read_tokens()
            return self._vocabulary

    def _read_tokens(self) -> LLTokenizer:
        if not isinstance(self._tokenizer, PreTrainedTokenizerFast):
            raise GrammarError("grammars need a tokenizer.json, which this model does not have")
        ends = [token_id for token_id in self._eos_token_ids if token_id < len(self._tokenizer)]
        if not ends:
            raise GrammarError("grammars need a token that ends the text, of which this model names none")
        return from_tokenizer(self._tokenizer, eos_token=ends)


def _from_json_schema(text: str) -> str:
    try:
        schema: Any = json.loads(text)
    except ValueError as error:
        raise GrammarError(f"the JSON schema is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise GrammarError("a JSON schema has to be an object")
    closed = schema if combines_schemas(schema) else close_objects(schema)
    return LLMatcher.grammar_from_json_schema(closed, overrides=_JSON_OPTIONS)


def _from_regex(pattern: str) -> str:
    """The whole text has to match, so anchors at its two ends say nothing new, and the matcher does not take them."""
    pattern = pattern.removeprefix("^")
    escapes = len(pattern) - 1 - len(pattern[:-1].rstrip("\\"))
    if pattern.endswith("$") and escapes % 2 == 0:
        pattern = pattern[:-1]
    return LLMatcher.grammar_from_regex(pattern)


def _failure_within_a_token(matcher: LLMatcher, vocabulary: LLTokenizer) -> str | None:
    """Take a step, because most limits that a grammar can break show in the masks before and after its first token."""
    state = GrammarState(matcher)
    scores = torch.zeros(vocabulary.vocab_size)
    state.rule_out(scores)
    scores[vocabulary.eos_tokens] = -math.inf
    if scores.isfinite().any():
        matcher.consume_token(int(scores.argmax()))
        state.rule_out(scores)
    return state.failure


def _refusal(grammar: Grammar, message: str) -> GrammarError:
    kind = "JSON schema" if grammar.kind == "json" else "regular expression"
    lines = [line.strip() for line in message.splitlines() if line.strip(" ^|")]
    reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return GrammarError(f"the {kind} cannot be enforced: {reason}")
