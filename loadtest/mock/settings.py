"""How the mock server behaves."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 8080
    ttft_ms: float = 50.0
    ttft_per_prompt_token_ms: float = 0.0
    itl_ms: float = 20.0
    tokens: int = 0
    slots: int = 0
    error_rate: float = 0.0
    http_error_rate: float = 0.0
    drop_rate: float = 0.0
    truncate_rate: float = 0.0
    stall_at_s: float = 0.0
    stall_s: float = 0.0
    seed: int = 0


HELP = {
    "host": "address to listen on",
    "port": "port to listen on; 0 takes a free one, which is printed",
    "ttft_ms": "time to the first token of a request that has a slot",
    "ttft_per_prompt_token_ms": "added to it for every token of the prompt",
    "itl_ms": "time between tokens",
    "tokens": "tokens of every answer; 0: as many as the request allows",
    "slots": "answers generated at a time, the others wait in a queue; 0: no limit",
    "error_rate": "share of requests that get an error inside HTTP 200, as TGI reports overload",
    "http_error_rate": "share of requests that get HTTP 503",
    "drop_rate": "share of requests whose connection is closed in the middle of the answer",
    "truncate_rate": "share of requests whose stream ends properly, but without the answer's end",
    "stall_at_s": "seconds after the first request at which nothing is sent any more",
    "stall_s": "how long that lasts; 0: no stall",
    "seed": "seed of the choice of requests that fail",
}


def parse(arguments: list[str] | None = None) -> Settings:
    parser = ArgumentParser(prog="python -m loadtest.mock", description=__doc__)
    for setting in fields(Settings):
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=type(setting.default),
            default=setting.default,
            help=f"{HELP[setting.name]} (default {setting.default!r})",
        )
    parsed: Namespace = parser.parse_args(arguments)
    return Settings(**vars(parsed))
