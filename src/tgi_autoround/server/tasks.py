"""Work at the same time on the event loop, whose end everyone waits for."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def all_of(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return the results of `works`, in order; when one fails, the others have ended before its error is raised.

    asyncio.gather would hand a cancellation on by itself, and the one here, a second, would cut short what the work
    does to clean up.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in ended:
            task.result()
    finally:
        await end_tasks(*tasks)
    return [task.result() for task in tasks]


async def end_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel `tasks` and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
