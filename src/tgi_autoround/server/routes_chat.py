"""`/v1/chat/completions` and `/chat_tokenize`."""

from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tgi_autoround.server import headers
from tgi_autoround.server.chat import ChatAnswers, prompt_of
from tgi_autoround.server.context import Context, ServerContext
from tgi_autoround.server.documentation import GENERATION_ERRORS, TAG, VALIDATION_ERROR
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.infer import Prompt
from tgi_autoround.server.json_route import JsonRoute
from tgi_autoround.server.prompts import simple_tokens
from tgi_autoround.server.responses import json_response, openai_error_event
from tgi_autoround.server.schemas.chat import ChatCompletion, ChatCompletionChunk, ChatRequest
from tgi_autoround.server.schemas.generate import ChatTokenizeResponse, TokenizeResponse
from tgi_autoround.server.stream import DONE, Events, EventStream, event, unless_client_leaves

router = APIRouter(tags=[TAG], route_class=JsonRoute)
open_router = APIRouter(tags=[TAG], route_class=JsonRoute)
"""Routes that need no API key, as in TGI."""


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion | ChatCompletionChunk,
    responses=GENERATION_ERRORS,
)
async def chat_completions(body: ChatRequest, request: Request, context: Context) -> Response:
    """Continue a conversation."""
    prompt = prompt_of(body, context.prompts)
    answers = ChatAnswers.to(body, context)
    if body.stream:
        stream_headers = headers.of_stream(context.compute_type, [prompt.text])
        return EventStream(_events(prompt, answers, context), stream_headers)
    answer = await unless_client_leaves(request, context.infer.answer(prompt))
    return json_response(answers.whole(answer), headers.of_answer(context.compute_type, prompt.text, answer.end))


@open_router.post("/chat_tokenize", response_model=ChatTokenizeResponse, responses=VALIDATION_ERROR)
async def chat_tokenize(body: ChatRequest, context: Context) -> Response:
    """Apply the chat template and tokenize the result."""
    text = prompt_of(body, context.prompts).text
    encoding = await context.prompts.encode(text, add_special_tokens=False)
    tokens = TokenizeResponse(simple_tokens(text, encoding))
    return json_response(ChatTokenizeResponse(tokenize_response=tokens, templated_text=text))


async def _events(prompt: Prompt, answers: ChatAnswers, context: ServerContext) -> Events:
    try:
        async with aclosing(context.infer.stream(prompt)) as steps:
            async for step in steps:
                for piece in answers.pieces(step):
                    yield event(piece)
    except ApiError as error:
        context.count_failure(error)
        yield openai_error_event(error)
    yield DONE
