"""asyncio and aiohttp, reading whatever has come and splitting it into events: how vLLM's serving benchmark does it."""

import asyncio
import json
import time

import aiohttp

from benchmarks.loadgen_clients.measured import ITL_S, Measured, report

BODY = {"inputs": "hello", "parameters": {"max_new_tokens": 40, "details": True}}


async def read_stream(session: aiohttp.ClientSession, url: str) -> tuple[list[int], list[int]]:
    arrived_ns, emitted_ns, buffered = [], [], b""
    async with session.post(f"{url}/generate_stream", json=BODY) as response:
        async for received in response.content.iter_any():
            buffered += received
            *events, buffered = buffered.split(b"\n\n")
            for event in events:
                arrived_ns.append(time.monotonic_ns())
                emitted_ns.append(int(json.loads(event.removeprefix(b"data:"))["token"]["text"]))
    return arrived_ns, emitted_ns


async def ask_again_and_again(session: aiohttp.ClientSession, url: str, until_s: float, measured: Measured) -> None:
    while time.monotonic() < until_s:
        arrived_ns, emitted_ns = await read_stream(session, url)
        measured.arrived_ns.append(arrived_ns)
        measured.emitted_ns.append(emitted_ns)


async def ask_in_streams(url: str, streams: int, seconds: float) -> Measured:
    measured = Measured()
    until_s = time.monotonic() + seconds
    began_s = time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = []
        for _ in range(streams):
            tasks.append(asyncio.create_task(ask_again_and_again(session, url, until_s, measured)))
            await asyncio.sleep(ITL_S / streams)
        await asyncio.gather(*tasks)
    measured.cpu_s = time.process_time() - began_s
    return measured


def measure(url: str, streams: int, seconds: float) -> Measured:
    return asyncio.run(ask_in_streams(url, streams, seconds))


if __name__ == "__main__":
    report(measure)
