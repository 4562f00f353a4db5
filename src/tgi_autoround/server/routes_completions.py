"""`/v1/completions`: several prompts a request, each an own generation."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tgi_autoround.server import headers
from tgi_autoround.server.chat import adapter_of, sampling_of
from tgi_autoround.server.chat_answers import finish_reason_of
from tgi_autoround.server.context import Context, ServerContext
from tgi_autoround.server.documentation import TAG, streaming
from tgi_autoround.server.errors import ApiError, BatchSizeError, SuffixError
from tgi_autoround.server.infer import Answer, Prompt, Step
from tgi_autoround.server.json_route import JsonRoute
from tgi_autoround.server.responses import json_response, openai_error_event
from tgi_autoround.server.schemas.base import Usage
from tgi_autoround.server.schemas.completions import (
    CompletionComplete,
    CompletionFinal,
    CompletionRequest,
)
from tgi_autoround.server.schemas.generate import GenerateParameters
from tgi_autoround.server.stream import DONE, Events, EventStream, event, merged, unless_client_leaves
from tgi_autoround.server.tasks import all_of

router = APIRouter(tags=[TAG], route_class=JsonRoute)


@router.post("/v1/completions", response_model=CompletionFinal, responses=streaming("Completion", "OpenAIErrorEvent"))
async def completions(body: CompletionRequest, request: Request, context: Context) -> Response:
    """Continue each of the prompts."""
    prompts = _prompts_of(body, context.info.max_client_batch_size)
    texts = [prompt.text for prompt in prompts]
    if body.stream:
        return EventStream(_events(prompts, context), headers.of_stream(context.compute_type, texts))
    answers = await unless_client_leaves(request, all_of(context.infer.answer(prompt) for prompt in prompts))
    ends = [answer.end for answer in answers]
    return json_response(_final(answers, context), headers.of_answers(context.compute_type, texts, ends))


def _prompts_of(body: CompletionRequest, most_prompts: int) -> list[Prompt]:
    if body.suffix is not None:
        raise SuffixError("Suffix is not supported and can be achieved by preprocessing the prompt.")
    if len(body.prompt.texts) > most_prompts:
        raise BatchSizeError(f"Number of prompts exceeds the maximum allowed batch size of {most_prompts}")
    do_sample, temperature = sampling_of(body.temperature)
    parameters = GenerateParameters(
        do_sample=do_sample,
        temperature=temperature,
        repetition_penalty=body.repetition_penalty,
        frequency_penalty=body.frequency_penalty,
        top_p=body.top_p,
        max_new_tokens=body.max_tokens,
        stop=body.stop or [],
        details=True,
        seed=body.seed,
        adapter_id=adapter_of(body.model),
    )
    return [Prompt(text, parameters) for text in body.prompt.texts]


async def _events(prompts: Sequence[Prompt], context: ServerContext) -> Events:
    streams = [_events_of(index, prompt, context) for index, prompt in enumerate(prompts)]
    async with aclosing(merged(streams)) as events:
        async for data in events:
            yield data
    yield DONE


async def _events_of(index: int, prompt: Prompt, context: ServerContext) -> Events:
    try:
        async with aclosing(context.infer.stream(prompt)) as steps:
            async for step in steps:
                yield event(_piece(index, step, context))
    except ApiError as error:
        context.count_failure(error)
        yield openai_error_event(error)


def _piece(index: int, step: Step, context: ServerContext) -> dict[str, Any]:
    """The JSON of a Chunk, of a CompletionFinal for the last token."""
    choice = {
        "index": index,
        "text": step.token.text,
        "logprobs": None,
        "finish_reason": step.end.finish.reason.value if step.end else "",
    }
    piece = {
        "object": "text_completion",
        "id": "",
        "created": int(time.time()),
        "model": context.info.model_id,
        "system_fingerprint": context.fingerprint,
        "choices": [choice],
    }
    if step.end is None:
        return piece
    return {**piece, "usage": Usage.of(step.end.input_length, step.end.finish.generated_tokens).model_dump()}


def _final(answers: Sequence[Answer], context: ServerContext) -> CompletionFinal:
    choices = [
        CompletionComplete(index=index, text=answer.end.text, finish_reason=finish_reason_of(answer.end.finish.reason))
        for index, answer in enumerate(answers)
    ]
    return CompletionFinal(
        created=int(time.time()),
        model=context.info.model_id,
        system_fingerprint=context.fingerprint,
        choices=choices,
        usage=Usage.of(
            sum(answer.end.input_length for answer in answers),
            sum(answer.end.finish.generated_tokens for answer in answers),
        ),
    )
