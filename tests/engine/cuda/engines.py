"""An engine on the CUDA runner where there is no GPU: its kernels interpreted, its decode steps run uncaptured."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.engine.cuda.decoders import SMALL, small_model
from tests.engine.harness import Answer, greedy
from tests.models import make_tokenizer
from tgi_autoround.engine import Engine, EngineLimits, Request, SamplingParams
from tgi_autoround.engine.cuda import runner
from tgi_autoround.engine.cuda.decoder import CudaDecoder
from tgi_autoround.engine.cuda.graphs import DecodeGraphs, StartedStep
from tgi_autoround.engine.decoder import read
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.scheduler import Scheduler

MAX_TOKENS = 48
LIMITS = EngineLimits(
    max_input_tokens=MAX_TOKENS - 1,
    max_total_tokens=MAX_TOKENS,
    max_batch_prefill_tokens=7,
    max_batch_total_tokens=4 * MAX_TOKENS,
    max_batch_size=4,
)
PROMPTS = tuple(list(range(first, first + 2 * length)) for first, length in enumerate((3, 1, 6, 2, 5, 4), start=3))
NEW_TOKENS = 10
END_OF_TEXT = 37
"""What most of the sequences come upon."""


class _Arrived:
    def synchronize(self) -> None:
        """What runs in turn has arrived."""


class UncapturedGraphs(DecodeGraphs):
    """Runs a step where a graph would be replayed; its logits are overwritten by the next, as a graph's are."""

    def __init__(self, decoder: CudaDecoder, sizes: tuple[int, ...], device: torch.device) -> None:
        self._decoder, self.largest = decoder, max(sizes)
        self._captured: dict[int, Any] = dict.fromkeys(sizes)
        self._inputs = torch.zeros(2, self.largest, dtype=torch.int32)
        self._choices = [torch.zeros(3, self.largest, dtype=torch.int32) for _ in range(2)]
        self._state = torch.zeros(3, self.largest, dtype=torch.int32)
        self._slots = torch.arange(self.largest, dtype=torch.int32)
        self._logits = torch.zeros(self.largest, SMALL["vocab_size"])

    def _run(self, batch: int, size: int) -> StartedStep:
        self._logits[:size] = self._step(size)
        self._choices.reverse()
        self._choices[0].copy_(self._state)
        return StartedStep(batch, size, self._logits[:batch], self._choices[0], _Arrived())


def answers_of_engine() -> dict[str, Any]:
    """Sequences that enter in parts and end at different times, so that others' slots move while they go on.

    The last one's logits are wanted, so while it runs no step runs ahead.
    """
    model = small_model("llama", std=0.5)
    expected = [_until_end(greedy(model, prompt, NEW_TOKENS)) for prompt in PROMPTS]
    logprobs = [_logprobs(model, *each) for each in zip(PROMPTS, expected, strict=True)]
    weights = read(model)
    assert not isinstance(weights, str), weights
    runner.DecodeGraphs = UncapturedGraphs
    cache = KVCache(model.config, LIMITS.max_batch_size, MAX_TOKENS, torch.float32, torch.device("cpu"))
    with TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(Path(folder))
    cuda_runner = runner.CudaRunner(weights, cache, None)
    scheduler, ends = Scheduler(LIMITS, cache), frozenset({END_OF_TEXT})
    engine = Engine(cuda_runner, scheduler, tokenizer, LIMITS, ends, SMALL["vocab_size"])
    engine.start()
    answers = [Answer() for _ in PROMPTS]
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        params = SamplingParams(NEW_TOKENS, top_n_tokens=1 if prompt == PROMPTS[-1] else 0)
        engine.submit(Request(prompt, params), answer)
    for answer in answers:
        assert answer.ended.wait(120)
    engine.stop()
    return {
        "tokens": [answer.token_ids for answer in answers],
        "expected tokens": expected,
        "logprobs": [[output.token.logprob for output in answer.outputs] for answer in answers],
        "expected logprobs": logprobs,
    }


def _until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(END_OF_TEXT) + 1] if END_OF_TEXT in tokens else tokens


@torch.no_grad()
def _logprobs(model: Any, prompt: list[int], tokens: list[int]) -> list[float]:
    logits = model(torch.tensor([prompt + tokens[:-1]])).logits[0, len(prompt) - 1 :]
    chosen: list[float] = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
    return chosen
