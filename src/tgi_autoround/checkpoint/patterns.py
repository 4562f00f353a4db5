"""Regular expressions that a config brings along, matched against layer names in bounded time.

Python's `re` backtracks: `(a+)+$` takes hours on a name of 40 letters. Here an expression maps the set of positions
where it may begin to the set of positions where it may end, node by node, so that time grows with its length times the
square of the name's. Python's own parser reads it; what only backtracking can do (backreferences) is refused.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.errors import CheckpointError, UnsupportedError

if sys.version_info >= (3, 11):
    from re import _parser as sre
else:
    import sre_parse as sre

MAX_CHARACTERS = 1000
MAX_DEPTH = 10
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
LOOKAROUNDS = (sre.ASSERT, sre.ASSERT_NOT)
Positions = set[int]


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A parsed expression."""

    nodes: Any

    def search(self, name: str) -> bool:
        """Return whether the expression matches anywhere in `name`, as `re.search` finds it."""
        return bool(_ends(self.nodes, name, set(range(len(name) + 1))))


def compile_pattern(pattern: str, where: str) -> NamePattern:
    """Parse a config's expression; `where` names its place in error messages.

    Raises CheckpointError where it is none, UnsupportedError where it cannot be matched in bounded time.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise UnsupportedError(f"{where} has {len(pattern)} characters; expressions of {MAX_CHARACTERS} are read")
    try:
        nodes = sre.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise CheckpointError(
            f"{where} is neither a layer name nor a regular expression: {show(str(error))}"
        ) from error
    if nodes.state.flags != re.UNICODE:
        raise _unsupported(where, "flags")
    _check(nodes, where, within=())
    return NamePattern(nodes)


def _check(nodes: Any, where: str, *, within: tuple[Any, ...]) -> None:
    """`within`: the operations around `nodes`."""
    if len(within) > MAX_DEPTH:
        raise _unsupported(where, f"more than {MAX_DEPTH} levels of groups")
    for op, argument in nodes:
        if op not in STEPS:
            raise _unsupported(where, str(op).lower())
        if op is sre.SUBPATTERN and (argument[1] or argument[2]):
            raise _unsupported(where, "flags")
        if op in LOOKAROUNDS and argument[0] < 0:
            raise _unsupported(where, "lookbehind")
        costs = _costs(op, argument)
        if (costs and costs in within) or (costs is LOOKAROUNDS and REPEATS in within):
            raise _unsupported(where, "a repetition or lookaround inside another")
        for inner in _inner(op, argument):
            _check(inner, where, within=(*within, costs))


def _costs(op: Any, argument: Any) -> tuple[Any, ...] | None:
    """The kind of operation that evaluates its inside up to once a position, if `op` is one."""
    if op in REPEATS and argument[1] > 1:
        return REPEATS
    return LOOKAROUNDS if op in LOOKAROUNDS else None


def _inner(op: Any, argument: Any) -> list[Any]:
    if op is sre.BRANCH:
        return list(argument[1])
    return [argument[-1]] if op is sre.SUBPATTERN or op in REPEATS or op in LOOKAROUNDS else []


def _unsupported(where: str, what: str) -> UnsupportedError:
    return UnsupportedError(f"{where} uses {what}, which is not read in expressions; write the layers' names instead")


def _ends(nodes: Any, name: str, starts: Positions) -> Positions:
    for op, argument in nodes:
        if not starts:
            break
        starts = STEPS[op](argument, name, starts)
    return starts


def _one_character(accepts: Callable[[Any, str], bool]) -> Callable[[Any, str, Positions], Positions]:
    return lambda argument, name, starts: {p + 1 for p in starts if p < len(name) and accepts(argument, name[p])}


def _is_in(items: list[Any], character: str) -> bool:
    negated = items[0][0] is sre.NEGATE
    return negated != any(_accepts(op, argument, character) for op, argument in items[negated:])


def _accepts(op: Any, argument: Any, character: str) -> bool:
    if op is sre.RANGE:
        return bool(argument[0] <= ord(character) <= argument[1])
    if op is sre.CATEGORY:
        return CATEGORIES[argument](character)
    return bool(ord(character) == argument)


def _branch(argument: Any, name: str, starts: Positions) -> Positions:
    return set().union(*(_ends(alternative, name, starts) for alternative in argument[1]))


def _repeat(argument: Any, name: str, starts: Positions) -> Positions:
    """Beyond `len(name) + 1` rounds nothing can be consumed, so further ones reach nothing new."""
    low, high, nodes = argument
    rounds = len(name) + 1
    for _ in range(min(low, rounds)):
        starts = _ends(nodes, name, starts)
    reached = set(starts)
    for _ in range(min(high - low, rounds)):
        starts = _ends(nodes, name, starts) - reached
        if not starts:
            break
        reached |= starts
    return reached


def _at(place: Any, name: str, starts: Positions) -> Positions:
    return {p for p in starts if PLACES[place](name, p)}


def _is_boundary(name: str, position: int) -> bool:
    before, after = name[max(position - 1, 0) : position], name[position : position + 1]
    return _is_word(before) != _is_word(after)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


CATEGORIES: dict[Any, Callable[[str], bool]] = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda character: not character.isdecimal(),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    sre.CATEGORY_WORD: _is_word,
    sre.CATEGORY_NOT_WORD: lambda character: not _is_word(character),
}
PLACES: dict[Any, Callable[[str, int], bool]] = {
    sre.AT_BEGINNING: lambda _name, position: position == 0,
    sre.AT_BEGINNING_STRING: lambda _name, position: position == 0,
    sre.AT_END: lambda name, position: name[position:] in ("", "\n"),
    sre.AT_END_STRING: lambda name, position: position == len(name),
    sre.AT_BOUNDARY: _is_boundary,
    sre.AT_NON_BOUNDARY: lambda name, position: not _is_boundary(name, position),
}
STEPS: dict[Any, Callable[[Any, str, Positions], Positions]] = {
    sre.LITERAL: _one_character(lambda code, character: ord(character) == code),
    sre.NOT_LITERAL: _one_character(lambda code, character: ord(character) != code),
    sre.ANY: _one_character(lambda _argument, character: character != "\n"),
    sre.IN: _one_character(_is_in),
    sre.BRANCH: _branch,
    sre.SUBPATTERN: lambda argument, name, starts: _ends(argument[3], name, starts),
    sre.MAX_REPEAT: _repeat,
    sre.MIN_REPEAT: _repeat,
    sre.AT: _at,
    sre.ASSERT: lambda argument, name, starts: {p for p in starts if _ends(argument[1], name, {p})},
    sre.ASSERT_NOT: lambda argument, name, starts: {p for p in starts if not _ends(argument[1], name, {p})},
}
