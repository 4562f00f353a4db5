"""Start a real tgi-gaudi 2.0 server on a CPU and have it answer prompts greedily; runs under tgi-gaudi's own Python.

    python tests/upstream/legacy_server.py MODEL --prompts prompts.json >answers.json

It stands in for the launcher (process, environment) and the router (gRPC). PYTHONPATH must hold tgi-gaudi's server/
with its generated `pb`, tests/upstream/legacy_doubles and scripts/lib. The server's own output goes to stderr.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from text_generation_server.pb import generate_pb2 as pb
from text_generation_server.pb.generate_pb2_grpc import TextGenerationServiceStub

START_TIMEOUT_S = 120
MAX_INPUT_TOKENS, MAX_TOTAL_TOKENS = 64, 128
SMALL_SHAPES = {
    "MAX_TOTAL_TOKENS": str(MAX_TOTAL_TOKENS),
    "PAD_SEQUENCE_TO_MULTIPLE_OF": "32",
    "BATCH_BUCKET_SIZE": "4",
    "PREFILL_BATCH_BUCKET_SIZE": "4",
}


def main() -> None:
    arguments = _arguments()
    prompts = json.loads(Path(arguments.prompts).read_text())
    with tempfile.TemporaryDirectory() as folder, _server(arguments.model, arguments.serve, f"{folder}/server") as stub:
        json.dump(_answers(stub, prompts, arguments.new_tokens), sys.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", required=True, help="a JSON list of texts")
    parser.add_argument("--new-tokens", type=int, default=12)
    parser.add_argument("--serve", nargs="*", default=[], metavar="OPTION", help="options of `serve`, without dashes")
    return parser.parse_args()


@contextlib.contextmanager
def _server(model: str, options: list[str], socket: str) -> Iterator[TextGenerationServiceStub]:
    command = [sys.executable, "-m", "text_generation_server.cli", "serve", model, "--uds-path", socket]
    command += [f"--{option}" for option in options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **SMALL_SHAPES}
    server = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=sys.stderr)
    try:
        _wait_for(server, Path(f"{socket}-0"))
        yield TextGenerationServiceStub(grpc.insecure_channel(f"unix://{socket}-0"))
    finally:
        server.terminate()
        server.wait(START_TIMEOUT_S)


def _wait_for(server: "subprocess.Popen[bytes]", socket: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not socket.exists():
        if server.poll() is not None:
            sys.exit("the server ended before it was up; its output is above")
        if time.monotonic() > deadline:
            sys.exit(f"the server was not up within {START_TIMEOUT_S} s")
        time.sleep(0.1)


def _answers(stub: TextGenerationServiceStub, prompts: list[str], new_tokens: int) -> list[list[int]]:
    """Return the token ids of each prompt's answer, all prompts in one batch."""
    requests = [_request(number, prompt, new_tokens) for number, prompt in enumerate(prompts)]
    batch = pb.Batch(id=1, requests=requests, size=len(requests), max_tokens=len(requests) * MAX_TOTAL_TOKENS)
    tokens: dict[int, list[int]] = {number: [] for number in range(len(prompts))}
    answer = stub.Prefill(pb.PrefillRequest(batch=batch))
    _collect(answer, tokens)
    while answer.HasField("batch"):
        answer = stub.Decode(pb.DecodeRequest(batches=[answer.batch]))
        _collect(answer, tokens)
    return list(tokens.values())


def _collect(answer: Any, tokens: dict[int, list[int]]) -> None:
    for generation in answer.generations:
        tokens[generation.request_id].extend(generation.tokens.ids)


def _request(number: int, text: str, new_tokens: int) -> Any:
    return pb.Request(
        id=number,
        inputs=text,
        truncate=MAX_INPUT_TOKENS,
        parameters=pb.NextTokenChooserParameters(
            temperature=1.0, top_p=1.0, typical_p=1.0, repetition_penalty=1.0, do_sample=False
        ),
        stopping_parameters=pb.StoppingCriteriaParameters(max_new_tokens=new_tokens, ignore_eos_token=True),
    )


if __name__ == "__main__":
    main()
