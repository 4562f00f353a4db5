"""Bursts of simultaneous greedy requests, through the engine and through transformers' continuous batching."""

import random
import threading
import time
from typing import Any

from engine_cuda_models import MAX_TOKENS
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from tgi_autoround.engine import Engine, EngineLimits, Failure, Output, Request, SamplingParams
from tgi_autoround.engine.cuda.runner import CudaRunner
from tgi_autoround.engine.decoder import DecoderWeights
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.scheduler import Scheduler

PROMPT_TOKENS, NEW_TOKENS = 128, 64
STEP_TOKENS = 4096


class _Stream:
    """When each token of a request came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.ended = threading.Event()

    def __call__(self, event: Output | Failure) -> None:
        if isinstance(event, Failure):
            raise RuntimeError(event.message)
        self.times.append(time.perf_counter())
        if event.finish is not None:
            self.ended.set()


def burst_of_engine(weights: DecoderWeights, cache: KVCache, tokenizer: Any, streams: int) -> dict[str, float]:
    """Return tokens a second, the second of two bursts."""
    limits = EngineLimits(MAX_TOKENS - 1, MAX_TOKENS, STEP_TOKENS, cache.keys[0].shape[0] * MAX_TOKENS, streams)
    runner, vocabulary_size = CudaRunner(weights, cache, (streams,)), weights.embedding.shape[0]
    engine = Engine(runner, Scheduler(limits, cache), tokenizer, limits, frozenset(), vocabulary_size)
    engine.start()
    for seed in (0, 1):
        answers = [_Stream() for _ in range(streams)]
        started = time.perf_counter()
        for prompt, answer in zip(prompts(streams, seed), answers, strict=True):
            engine.submit(Request(prompt, SamplingParams(NEW_TOKENS)), answer)
        for answer in answers:
            if not answer.ended.wait(20):
                raise TimeoutError(f"{streams} streams did not end")
    engine.stop()
    return _rates(started, [answer.times for answer in answers])


def burst_of_transformers(model: PreTrainedModel, streams: int) -> dict[str, float]:
    """Return tokens a second of `generate_batch`, after a shorter one that makes its cache and warms it up."""
    batching = ContinuousBatchingConfig(max_memory_percent=0.3)
    for seed, new_tokens in ((0, 4), (1, NEW_TOKENS)):
        generation = GenerationConfig(max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
        started = time.perf_counter()
        outputs = model.generate_batch(
            prompts(streams, seed),
            generation_config=generation,
            continuous_batching_config=batching,
            record_timestamps=True,
            persistent_manager=True,
        )
    model.destroy_cached_continuous_batching_manager()
    return _rates(started, [output.timestamps for output in outputs.values()])


def prompts(streams: int, seed: int) -> list[list[int]]:
    """Random tokens, other ones for each seed, so that nothing is found in a cache."""
    generator = random.Random(seed)
    return [[generator.randrange(1000, 100_000) for _ in range(PROMPT_TOKENS)] for _ in range(streams)]


def _rates(started: float, times: list[list[float]]) -> dict[str, float]:
    """`decode` counts tokens while every stream has its first and none has ended; `overall` all, prompts included."""
    begin, end = max(each[0] for each in times), min(each[-1] for each in times)
    while_all_run = sum(begin < at <= end for each in times for at in each)
    last = max(each[-1] for each in times)
    return {
        "streams": len(times),
        "decode_tokens_per_s": while_all_run / (end - begin),
        "overall_tokens_per_s": sum(map(len, times)) / (last - started),
        "first_token_s": begin - started,
    }
