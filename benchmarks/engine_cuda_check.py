"""Output of a small model on a GPU: with graphs, without them, and by transformers' modules."""

import random
import threading
from pathlib import Path
from typing import Any

import torch
from engine_cuda_models import CUDA, DTYPE
from transformers import AutoTokenizer

from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.engine import EngineConfig, Output, Request, SamplingParams, build_engine
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.modeling import build_model

NEW_TOKENS = 48
TEXT = Path(__file__).resolve().parent.parent / "LICENSE"


def check_output(model_dir: Path) -> dict[str, Any]:
    """Return how outputs compare, and under "wrong" what is not as it should be.

    One at a time, captured and uncaptured steps run the same kernels, so their tokens are equal. In a batch, each token
    must be the best of the same model in float32, or as good within what bfloat16 changes its logits. Seeds repeat what
    is sampled.
    """
    requests = _requests(model_dir, 16)
    graphs, eager = (_answers(model_dir, requests, cuda_graphs=chosen, max_batch_size=16) for chosen in (None, ()))
    alone = [_answers(model_dir, requests[:4], cuda_graphs=chosen, max_batch_size=1) for chosen in (None, ())]
    sampled = [_answers(model_dir, requests[:4], sampled=True, max_batch_size=1) for _ in range(2)]
    wrong = [] if alone[0] == alone[1] else ["tokens with and without CUDA graphs differ at batch size 1"]
    if sampled[0] != sampled[1]:
        wrong.append("the same seeds give different tokens")
    worst, bound, best = _worst_gap(model_dir, requests, [graphs, eager])
    if worst > bound:
        wrong.append(f"a token was taken that is {worst:.4f} below the best; bfloat16 explains {bound:.4f}")
    equal = sum(a == b for a, b in zip(graphs, eager, strict=True))
    return {
        "requests": len(requests),
        "equal with and without graphs, batched": equal,
        "tokens that are float32's best": best,
        "largest gap to the best logit": worst,
        "gap that bfloat16 explains": bound,
        "wrong": wrong,
    }


def _requests(model_dir: Path, count: int) -> list[list[int]]:
    """Parts of a text, of 1 to 150 tokens."""
    ids = AutoTokenizer.from_pretrained(model_dir)(TEXT.read_text("utf-8")).input_ids
    generator = random.Random(0)
    starts = [generator.randrange(len(ids) - 150) for _ in range(count)]
    return [ids[start : start + generator.randint(1, 150)] for start in starts]


def _answers(model_dir: Path, prompts: list[list[int]], *, sampled: bool = False, **options: Any) -> list[list[int]]:
    engine, _tokenizer, _config = build_engine(
        EngineConfig(model_dir, max_total_tokens=256, max_batch_prefill_tokens=100, **options)
    )
    engine.start()
    answers: list[list[int]] = [[] for _ in prompts]
    ended = threading.Semaphore(0)
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):

        def receive(event: Any, answer: list[int] = answer) -> None:
            if not isinstance(event, Output):
                raise RuntimeError(event.message)
            answer.append(event.token.id)
            if event.finish is not None:
                ended.release()

        params = SamplingParams(
            NEW_TOKENS - 5 * (index % 6), seed=index, do_sample=sampled, top_p=0.9 if sampled else 1
        )
        engine.submit(Request(prompt, params), receive)
    for _ in prompts:
        if not ended.acquire(timeout=60):
            raise TimeoutError("a request did not end")
    engine.stop()
    return answers


@torch.inference_mode()
def _worst_gap(model_dir: Path, prompts: list[list[int]], runs: list[list[list[int]]]) -> tuple[float, float, float]:
    """Return how far below the best logit of float32 a taken token is at most, the bound of it, and how many are best.

    The bound is twice the largest difference between the same model's logits in bfloat16 and in float32.
    """
    checkpoint = open_checkpoint(model_dir)
    exact = build_model(checkpoint, device=CUDA, dtype=torch.float32, kernels=(DequantizedKernel(),))
    rounded = build_model(checkpoint, device=CUDA, dtype=DTYPE)
    worst = error = 0.0
    hits = total = 0
    for answers in runs:
        for prompt, answer in zip(prompts, answers, strict=True):
            row = torch.tensor([prompt + answer[:-1]], device=CUDA)
            logits = exact(row).logits[0, len(prompt) - 1 :]
            error = max(error, float((rounded(row).logits[0, len(prompt) - 1 :].float() - logits).abs().max()))
            gaps = logits.max(-1).values - logits.gather(1, torch.tensor(answer, device=CUDA)[:, None])[:, 0]
            worst = max(worst, float(gaps.max()))
            hits += int((gaps == 0).sum())
            total += len(answer)
    return worst, 2 * error, hits / total
