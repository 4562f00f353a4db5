"""Grammars are compiled a few at a time, once for all who wait, and only for those who still wait."""

import asyncio
import threading
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tgi_autoround.engine import Grammar
from tgi_autoround.engine.grammar import Grammars
from tgi_autoround.errors import GrammarError
from tgi_autoround.server.grammar_compiler import COMPILED_AT_ONCE, GrammarCompiler

DEMO_MODEL = Path(__file__).parents[2] / "assets/demo-model"
WANTED = Grammar("regex", "[0-9]{3}")


class SlowGrammars(Grammars):
    """Compiles nothing before it is let."""

    def __init__(self) -> None:
        super().__init__(AutoTokenizer.from_pretrained(DEMO_MODEL), frozenset([2]))
        self.let = threading.Event()
        self.begun: list[Grammar] = []

    def compile(self, grammar: Grammar) -> Grammar:
        self.begun.append(grammar)
        self.let.wait()
        return super().compile(grammar)


@pytest.fixture
def grammars() -> SlowGrammars:
    return SlowGrammars()


@pytest.fixture
def compiler(grammars: SlowGrammars):
    compiler = GrammarCompiler(grammars)
    yield compiler
    grammars.let.set()
    compiler.close()


def others(count: int) -> list[Grammar]:
    return [Grammar("regex", f"b{{{number}}}") for number in range(1, count + 1)]


async def begun(compiler: GrammarCompiler, wanted: list[Grammar]) -> "list[asyncio.Task[Grammar]]":
    tasks = [asyncio.create_task(compiler.compile(grammar)) for grammar in wanted]
    await asyncio.sleep(0.05)
    return tasks


def test_a_grammar_that_many_ask_for_is_compiled_once(grammars: SlowGrammars, compiler: GrammarCompiler) -> None:
    async def ask() -> list[Grammar]:
        tasks = await begun(compiler, [WANTED] * 5)
        tasks[0].cancel()
        grammars.let.set()
        return await asyncio.gather(*tasks[1:])

    answers = asyncio.run(ask())
    assert grammars.begun == [WANTED]
    assert all(answer.matcher is not None and answer.matcher is answers[0].matcher for answer in answers)


def test_few_are_compiled_at_a_time_and_a_kept_one_waits_for_none(
    grammars: SlowGrammars, compiler: GrammarCompiler
) -> None:
    Grammars.compile(grammars, WANTED)

    async def ask() -> Grammar:
        tasks = await begun(compiler, others(COMPILED_AT_ONCE + 2))
        assert grammars.begun == others(COMPILED_AT_ONCE)
        answer = await asyncio.wait_for(compiler.compile(WANTED), timeout=5)
        grammars.let.set()
        await asyncio.gather(*tasks)
        return answer

    assert asyncio.run(ask()).matcher is not None


def test_a_grammar_whose_requests_have_left_is_not_compiled(grammars: SlowGrammars, compiler: GrammarCompiler) -> None:
    async def ask() -> None:
        tasks = await begun(compiler, [*others(COMPILED_AT_ONCE), WANTED])
        tasks[-1].cancel()
        await asyncio.wait(tasks[-1:])
        grammars.let.set()
        await asyncio.gather(*tasks[:-1])

    asyncio.run(ask())
    assert grammars.begun == others(COMPILED_AT_ONCE)


def test_closing_drops_those_that_wait(grammars: SlowGrammars, compiler: GrammarCompiler) -> None:
    async def ask() -> list[object]:
        tasks = await begun(compiler, [*others(COMPILED_AT_ONCE), WANTED])
        compiler.close()
        grammars.let.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(asyncio.run(ask())[-1], asyncio.CancelledError)
    assert grammars.begun == others(COMPILED_AT_ONCE)


def test_a_grammar_that_is_refused_is_refused_for_all(grammars: SlowGrammars, compiler: GrammarCompiler) -> None:
    async def ask() -> list[object]:
        tasks = await begun(compiler, [Grammar("regex", "(")] * 2)
        grammars.let.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [GrammarError] * 2
