"""Start the shards of a real TGI server on a CPU and have them answer prompts greedily; runs under TGI's own Python.

    python tests/upstream/shard.py MODEL --world 2 --prompts prompts.json >answers.json

It stands in for TGI's launcher (processes, environment) and router (gRPC). PYTHONPATH must hold TGI's server/ with
its generated `pb`, and tests/upstream/doubles. The shards' own output goes to stderr.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from text_generation_server.pb import generate_pb2 as pb
from text_generation_server.pb.generate_pb2_grpc import TextGenerationServiceStub

START_TIMEOUT_S = 120
MAX_INPUT_TOKENS, MAX_TOTAL_TOKENS = 128, 256


def main() -> None:
    arguments = _arguments()
    prompts = json.loads(Path(arguments.prompts).read_text())
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/shard"
        with _shards(arguments, socket) as shards:
            stubs = [TextGenerationServiceStub(_channel(f"{socket}-{rank}", shards)) for rank in range(arguments.world)]
            json.dump(_answers(Shards(stubs), prompts, arguments.new_tokens), sys.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--world", type=int, default=1)
    parser.add_argument("--prompts", required=True, help="a JSON list of texts")
    parser.add_argument("--new-tokens", type=int, default=12)
    parser.add_argument("--master-port", default="29511")
    parser.add_argument("--dtype")
    parser.add_argument("--quantize", help="as a user of `text-generation-server serve` gives it")
    return parser.parse_args()


@contextlib.contextmanager
def _shards(arguments: argparse.Namespace, socket: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "text_generation_server.cli", "serve", arguments.model, "--uds-path", socket]
    command += ["--sharded"] if arguments.world > 1 else []
    command += ["--dtype", arguments.dtype] if arguments.dtype else []
    command += ["--quantize", arguments.quantize] if arguments.quantize else []
    shards = [
        subprocess.Popen(command, env=_environment(rank, arguments), stdout=sys.stderr, stderr=sys.stderr)
        for rank in range(arguments.world)
    ]
    try:
        yield shards
    finally:
        for shard in shards:
            shard.terminate()
        for shard in shards:
            shard.wait(START_TIMEOUT_S)


def _environment(rank: int, arguments: argparse.Namespace) -> dict[str, str]:
    """What TGI's launcher sets."""
    return {
        **os.environ,
        "ATTENTION": "paged",
        "PREFIX_CACHING": "0",
        "HF_HUB_OFFLINE": "1",
        "RANK": str(rank),
        "WORLD_SIZE": str(arguments.world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": arguments.master_port,
    }


def _channel(socket: str, shards: list[subprocess.Popen[bytes]]) -> grpc.Channel:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not Path(socket).exists():
        if any(shard.poll() is not None for shard in shards):
            sys.exit("a shard ended before it was up; its output is above")
        if time.monotonic() > deadline:
            sys.exit(f"a shard was not up within {START_TIMEOUT_S} s")
        time.sleep(0.1)
    return grpc.insecure_channel(f"unix://{socket}")


class Shards:
    """All shards of a server: every call goes to all at once, for they wait for each other."""

    def __init__(self, stubs: Sequence[TextGenerationServiceStub]) -> None:
        self._stubs = stubs

    def call(self, method: str, request: Any) -> list[Any]:
        pending = [getattr(stub, method).future(request) for stub in self._stubs]
        return [answer.result() for answer in pending]


def _answers(shards: Shards, prompts: list[str], new_tokens: int) -> list[list[int]]:
    """Return the token ids of each prompt's answer, all prompts in one batch."""
    shards.call("Warmup", _warmup())
    batch = _batch([_request(number, prompt, new_tokens) for number, prompt in enumerate(prompts)])
    tokens: dict[int, list[int]] = {number: [] for number in range(len(prompts))}
    answers = shards.call("Prefill", pb.PrefillRequest(batch=batch))
    _collect(answers, tokens)
    while answers[0].HasField("batch"):
        answers = shards.call("Decode", pb.DecodeRequest(batches=[answers[0].batch]))
        _collect(answers, tokens)
    return list(tokens.values())


def _collect(answers: list[Any], tokens: dict[int, list[int]]) -> None:
    """Each shard tells of its own share of the requests."""
    seen = {generation.request_id: generation for answer in answers for generation in answer.generations}
    for number, generation in seen.items():
        tokens[number].extend(generation.tokens.ids)


def _warmup() -> Any:
    batch = _batch([_request(0, "warm " * 8, 8)])
    return pb.WarmupRequest(
        batch=batch,
        max_input_tokens=MAX_INPUT_TOKENS,
        max_prefill_tokens=MAX_INPUT_TOKENS,
        max_total_tokens=MAX_TOTAL_TOKENS,
    )


def _batch(requests: list[Any]) -> Any:
    return pb.Batch(id=1, requests=requests, size=len(requests), max_tokens=len(requests) * MAX_TOTAL_TOKENS)


def _request(number: int, text: str, new_tokens: int) -> Any:
    return pb.Request(
        id=number,
        inputs=text,
        input_chunks=pb.Input(chunks=[pb.InputChunk(text=text)]),
        truncate=MAX_INPUT_TOKENS,
        add_special_tokens=True,
        parameters=pb.NextTokenChooserParameters(
            temperature=1.0, top_p=1.0, typical_p=1.0, repetition_penalty=1.0, do_sample=False
        ),
        stopping_parameters=pb.StoppingCriteriaParameters(max_new_tokens=new_tokens, ignore_eos_token=True),
    )


if __name__ == "__main__":
    main()
