"""A streaming client that costs little, so that it does not slow the server: raw sockets, JSON only for the usage."""

import asyncio
import json
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Stream:
    """One answered request: when text arrived (seconds since it was sent), and how many tokens it has."""

    arrivals_s: tuple[float, ...]
    tokens: int

    @property
    def ttft_s(self) -> float:
        """Time from sending to the first text; an answer may have none."""
        return self.arrivals_s[0]

    @property
    def gaps_s(self) -> list[float]:
        """Time between texts: ITL where every text is one token."""
        return [later - earlier for earlier, later in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]


async def stream_completion(port: int, body: dict[str, object]) -> Stream:
    """POST /v1/completions with stream=true. Raises RuntimeError for anything but a complete answer.

    Tokens are the server's count; where it gives none, those asked for if the answer ended by its length, else texts.
    """
    payload = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(payload), payload)
    )
    sent = time.perf_counter()
    arrivals, usage, ended_by_length, status = [], {}, False, await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"{status!r} {await reader.read()!r}")
    while line := await reader.readline():
        if not line.startswith(b"data:") or b"[DONE]" in line:
            continue
        if b'"error"' in line:
            raise RuntimeError(line.decode())
        if b'"usage":{' in line or b'"usage": {' in line:
            usage = json.loads(line[5:])["usage"]
        ended_by_length = ended_by_length or b'"length"' in line
        if b'"text":""' not in line and b'"choices":[{' in line.replace(b" ", b""):
            arrivals.append(time.perf_counter() - sent)
    writer.close()
    uncounted = body["max_tokens"] if ended_by_length else len(arrivals)
    return Stream(tuple(arrivals), usage.get("completion_tokens", uncounted))
