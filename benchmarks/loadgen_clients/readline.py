"""Locust's FastHttpUser reading events with readline: the usual right way to time streams with Locust."""

import time

import gevent
import orjson
from locust import FastHttpUser, task
from locust.exception import StopUser

from benchmarks.loadgen_clients.locust_users import run_users
from benchmarks.loadgen_clients.measured import ITL_S, Measured, report


def measure(url: str, streams: int, seconds: float) -> Measured:
    measured = Measured()
    until_s = time.monotonic() + seconds

    class Reader(FastHttpUser):
        started = 0

        def on_start(self) -> None:
            Reader.started += 1
            gevent.sleep(ITL_S * (Reader.started - 1) / streams)

        @task
        def ask(self) -> None:
            if time.monotonic() > until_s:
                raise StopUser
            arrived_ns, emitted_ns = [], []
            body = {"inputs": "hello", "parameters": {"max_new_tokens": 40, "details": True}}
            with self.client.post("/generate_stream", json=body, stream=True, catch_response=True) as response:
                while event := response._response.readline(b"\n\n"):
                    arrived_ns.append(time.monotonic_ns())
                    emitted_ns.append(int(orjson.loads(event.strip()[5:])["token"]["text"]))
                response.success()
            measured.arrived_ns.append(arrived_ns)
            measured.emitted_ns.append(emitted_ns)

    measured.cpu_s = run_users(Reader, url, streams)
    return measured


if __name__ == "__main__":
    report(measure)
