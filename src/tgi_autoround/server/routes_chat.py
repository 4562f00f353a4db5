"""`/v1/chat/completions` and `/chat_tokenize`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from tgi_autoround.server import headers
from tgi_autoround.server.chat import ChatPrompt, prompt_of, prompt_without_tools
from tgi_autoround.server.chat_answers import ChatAnswers, Chunk
from tgi_autoround.server.context import Context, ServerContext
from tgi_autoround.server.documentation import TAG, VALIDATION_ERROR, streaming
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.infer import Answer
from tgi_autoround.server.json_route import JsonRoute
from tgi_autoround.server.responses import json_response, openai_error_event
from tgi_autoround.server.schemas.chat import ChatCompletion, ChatRequest
from tgi_autoround.server.schemas.generate import ChatTokenizeResponse
from tgi_autoround.server.schemas.tools import ToolCall
from tgi_autoround.server.stream import DONE, Events, EventStream, event, unless_client_leaves
from tgi_autoround.server.tool_calls import CallReader, call_in

router = APIRouter(tags=[TAG], route_class=JsonRoute)
open_router = APIRouter(tags=[TAG], route_class=JsonRoute)
"""Routes that need no API key, as in TGI."""


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses=streaming("ChatCompletionChunk", "OpenAIErrorEvent"),
)
async def chat_completions(body: ChatRequest, request: Request, context: Context) -> Response:
    """Continue a conversation."""
    plan = prompt_of(body, context.chat_template)
    answers = ChatAnswers.to(body, context)
    if body.stream:
        stream_headers = headers.of_stream(context.compute_type, [plan.prompt.text])
        return EventStream(_events(body, plan, answers, context), stream_headers)
    used, answer, call = await unless_client_leaves(request, _answer(body, plan, context))
    return json_response(
        answers.whole(answer, call), headers.of_answer(context.compute_type, used.prompt.text, answer.end)
    )


@open_router.post("/chat_tokenize", response_model=ChatTokenizeResponse, responses=VALIDATION_ERROR)
async def chat_tokenize(body: ChatRequest, context: Context) -> Response:
    """Apply the chat template and tokenize the result."""
    text = prompt_of(body, context.chat_template).prompt.text
    tokens = await context.prompts.token_list(text, add_special_tokens=False)
    answer = {"tokenize_response": orjson.Fragment(tokens), "templated_text": text}
    return Response(orjson.dumps(answer), media_type="application/json")


async def _answer(
    chat: ChatRequest, plan: ChatPrompt, context: ServerContext
) -> tuple[ChatPrompt, Answer, ToolCall | None]:
    """Return what was generated, after which prompt: once more without tools where the model chose none of them."""
    if not plan.calls_tool:
        return plan, await context.infer.answer(plan.prompt), None
    answer = await _call(plan, context)
    if answer is not None:
        return plan, answer, call_in(answer.end.text)
    plan = prompt_without_tools(chat, context.chat_template)
    return plan, await context.infer.answer(plan.prompt), None


async def _call(plan: ChatPrompt, context: ServerContext) -> Answer | None:
    """Return the generated call, None as soon as the model has chosen none of the tools."""
    reader = CallReader()
    tokens = []
    async with aclosing(context.infer.stream(plan.prompt)) as steps:
        async for step in steps:
            reader.add("" if step.token.special else step.token.text)
            if reader.chose_no_tool:
                step.stop()
                return None
            tokens.append(step.token)
            if step.end is not None:
                return Answer(tokens, step.end)
    raise ApiError("Incomplete generation")


async def _events(chat: ChatRequest, plan: ChatPrompt, answers: ChatAnswers, context: ServerContext) -> Events:
    try:
        async with aclosing(_chunks(chat, plan, answers, context)) as chunks:
            async for chunk in chunks:
                yield event(chunk)
    except ApiError as error:
        context.count_failure(error)
        yield openai_error_event(error)
    yield DONE


async def _chunks(
    chat: ChatRequest, plan: ChatPrompt, answers: ChatAnswers, context: ServerContext
) -> AsyncGenerator[Chunk, None]:
    if plan.calls_tool:
        reader = CallReader()
        async with aclosing(_call_chunks(plan, reader, answers, context)) as chunks:
            async for chunk in chunks:
                yield chunk
        if not reader.chose_no_tool:
            return
        plan = prompt_without_tools(chat, context.chat_template)
    async with aclosing(context.infer.stream(plan.prompt)) as steps:
        async for step in steps:
            for chunk in answers.text_chunks(step):
                yield chunk


async def _call_chunks(
    plan: ChatPrompt, reader: CallReader, answers: ChatAnswers, context: ServerContext
) -> AsyncGenerator[Chunk, None]:
    async with aclosing(context.infer.stream(plan.prompt)) as steps:
        async for step in steps:
            piece = reader.add("" if step.token.special else step.token.text)
            if reader.chose_no_tool:
                step.stop()
                return
            for chunk in answers.call_chunks(step, piece):
                yield chunk
