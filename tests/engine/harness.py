"""Run requests through an engine and collect what comes out."""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tgi_autoround.engine import Engine, EngineConfig, Failure, Finish, Output, Request, SamplingParams, build_engine

TIMEOUT_S = 120


@dataclass
class Answer:
    """The events of one request."""

    outputs: list[Output] = field(default_factory=list)
    failure: Failure | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Output | Failure) -> None:
        if isinstance(event, Failure):
            self.failure = event
        else:
            self.outputs.append(event)
        if isinstance(event, Failure) or event.finish is not None:
            self.ended.set()

    @property
    def token_ids(self) -> list[int]:
        return [output.token.id for output in self.outputs]

    @property
    def finish(self) -> Finish:
        finish = self.outputs[-1].finish
        assert finish is not None
        return finish


def start_engine(model_dir: Path, **options: object) -> Engine:
    engine, _tokenizer, _config = build_engine(EngineConfig(model_dir, **{"quantize": "auto-round"} | options))  # type: ignore[arg-type]
    engine.start()
    return engine


def ask(engine: Engine, prompt_ids: list[int], **params: object) -> Answer:
    """Submit one request and wait for its end."""
    return ask_all(engine, [(prompt_ids, SamplingParams(**params))])[0]  # type: ignore[arg-type]


def ask_all(
    engine: Engine, requests: Sequence[tuple[list[int], SamplingParams]], max_pause_s: float = 0
) -> list[Answer]:
    """Submit requests with random pauses between them and wait for all to end."""
    return submit_all(engine, [Request(prompt_ids, params) for prompt_ids, params in requests], max_pause_s)


def submit_all(engine: Engine, requests: Sequence[Request], max_pause_s: float = 0) -> list[Answer]:
    """As `ask_all`, for requests with more than parameters. Grammars are compiled before, as a server does."""
    pauses = random.Random(len(requests))
    answers = []
    for request in requests:
        if request.params.grammar is not None:
            engine.grammars.compile(request.params.grammar)
        answers.append(Answer())
        engine.submit(request, answers[-1])
        time.sleep(pauses.uniform(0, max_pause_s))
    for answer in answers:
        assert answer.ended.wait(TIMEOUT_S)
    return answers


def random_requests(vocabulary: int, count: int, seed: int, max_new_tokens: int = 40) -> list[tuple[list[int], int]]:
    """Prompts of 1 to 150 random tokens, each with how many tokens to generate."""
    random_ = random.Random(seed)
    return [
        ([random_.randrange(3, vocabulary) for _ in range(random_.randint(1, 150))], random_.randint(1, max_new_tokens))
        for _ in range(count)
    ]


def greedy(model: PreTrainedModel, prompt_ids: list[int], max_new_tokens: int) -> list[int]:
    """What `generate()` makes of a prompt, alone."""
    output = model.generate(
        torch.tensor([prompt_ids]),
        attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.long),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return output[0, len(prompt_ids) :].tolist()
