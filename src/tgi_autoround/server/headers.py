"""TGI's `x-...` response headers."""

from collections.abc import Sequence

from tgi_autoround.server.infer import End


def of_answer(compute_type: str, prompt: str, end: End) -> dict[str, str]:
    """Headers of a whole answer; times in milliseconds but for x-compute-time, which is in seconds."""
    return {"x-compute-time": str(end.total_s), **of_answers(compute_type, [prompt], [end])}


def of_answers(compute_type: str, prompts: Sequence[str], ends: Sequence[End]) -> dict[str, str]:
    """Headers of several answers in one response: the sums."""
    sums = {
        "x-compute-characters": sum(map(len, prompts)),
        "x-total-time": sum(_ms(end.total_s) for end in ends),
        "x-validation-time": sum(_ms(end.validation_s) for end in ends),
        "x-queue-time": sum(_ms(end.finish.queue_s) for end in ends),
        "x-inference-time": sum(_ms(end.finish.inference_s) for end in ends),
        "x-time-per-token": sum(_ms(end.finish.inference_s / end.finish.generated_tokens) for end in ends),
        "x-prompt-tokens": sum(end.input_length for end in ends),
        "x-generated-tokens": sum(end.finish.generated_tokens for end in ends),
    }
    return {"x-compute-type": compute_type, **{name: str(value) for name, value in sums.items()}}


def of_stream(compute_type: str, prompts: Sequence[str]) -> dict[str, str]:
    """Headers of a stream, sent before anything is known about the answer."""
    characters = sum(map(len, prompts))
    return {
        "x-compute-type": compute_type,
        "x-compute-characters": str(characters),
        "x-accel-buffering": "no",
    }


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
