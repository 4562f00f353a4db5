"""Compiling the grammars of requests beside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tgi_autoround.engine import Grammar
from tgi_autoround.engine.grammar import Grammars

COMPILED_AT_ONCE = 2


@dataclass(slots=True)
class _Job:
    """A grammar that is being compiled, and for how many requests."""

    result: "asyncio.Future[Grammar]"
    waiting: int = 0


class GrammarCompiler:
    """Compiles few grammars at a time, each once for all who wait for it (used on one event loop)."""

    def __init__(self, grammars: Grammars) -> None:
        self._grammars = grammars
        self._pool = ThreadPoolExecutor(COMPILED_AT_ONCE, thread_name_prefix="grammar")
        self._jobs: dict[Grammar, _Job] = {}

    async def compile(self, grammar: Grammar) -> Grammar:
        """Return the grammar as a request takes it, at once where it is kept. Raises GrammarError.

        A grammar whose turn has not come when the last who waited for it has left is not compiled.
        """
        kept = self._grammars.compiled(grammar)
        if kept is not None:
            return kept
        job = self._jobs.get(grammar) or self._begin(grammar)
        job.waiting += 1
        try:
            await asyncio.wait([job.result])
            return job.result.result()
        finally:
            job.waiting -= 1
            if not job.waiting:
                job.result.cancel()
                del self._jobs[grammar]

    def close(self) -> None:
        """Compile nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, grammar: Grammar) -> _Job:
        loop = asyncio.get_running_loop()
        job = _Job(loop.run_in_executor(self._pool, self._grammars.compile, grammar))
        self._jobs[grammar] = job
        return job
