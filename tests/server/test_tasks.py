"""Work at the same time: nobody goes on before all of it has ended."""

import asyncio

import pytest

from tgi_autoround.server.tasks import all_of


def test_results_come_in_order() -> None:
    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(all_of(after(turns) for turns in (3, 0, 1))) == [3, 0, 1]


@pytest.mark.parametrize("client_leaves", [False, True])
def test_the_others_have_ended_when_one_fails_or_nobody_waits(client_leaves: bool) -> None:
    ended = []

    async def fail() -> None:
        await asyncio.sleep(3600 if client_leaves else 0)
        raise ValueError

    async def clean_up_slowly() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            ended.append("cleaned up")

    async def work() -> None:
        working = asyncio.create_task(all_of([fail(), clean_up_slowly(), clean_up_slowly()]))
        await asyncio.sleep(0.01)
        if client_leaves:
            working.cancel()
        with pytest.raises(asyncio.CancelledError if client_leaves else ValueError):
            await working
        assert ended == ["cleaned up"] * 2

    asyncio.run(work())
