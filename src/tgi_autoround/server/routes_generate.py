"""TGI's own routes: `/`, `/generate`, `/generate_stream`, `/tokenize`."""

from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tgi_autoround.engine import Token as EngineToken
from tgi_autoround.server import headers
from tgi_autoround.server.context import Context, ServerContext
from tgi_autoround.server.documentation import GENERATION_ERRORS, TAG, VALIDATION_ERROR, streaming
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.infer import Answer, End, Prompt, Step
from tgi_autoround.server.json_route import JsonRoute
from tgi_autoround.server.responses import error_event, json_list_response, json_response
from tgi_autoround.server.schemas.generate import (
    BestOfSequence,
    CompatGenerateRequest,
    Details,
    GenerateRequest,
    GenerateResponse,
    PrefillToken,
    Token,
    TokenizeResponse,
)
from tgi_autoround.server.stream import Events, EventStream, event, unless_client_leaves

router = APIRouter(tags=[TAG], route_class=JsonRoute)


@router.post("/", response_model=list[GenerateResponse], responses=streaming("StreamResponse", "ErrorResponse"))
async def compat_generate(body: CompatGenerateRequest, request: Request, context: Context) -> Response:
    """Generate tokens, streamed if `stream` is true; otherwise the answer is a list of one."""
    parameters = body.parameters
    if parameters.return_full_text is None:
        parameters = parameters.model_copy(update={"return_full_text": context.returns_full_text})
    prompt = Prompt(body.inputs, parameters)
    if body.stream:
        return _streamed(prompt, context)
    answer = await unless_client_leaves(request, context.infer.answer(prompt))
    return json_list_response(
        _response_of(prompt, answer), headers.of_answer(context.compute_type, prompt.text, answer.end)
    )


@router.post("/generate", response_model=GenerateResponse, responses=GENERATION_ERRORS)
async def generate(body: GenerateRequest, request: Request, context: Context) -> Response:
    """Generate tokens."""
    prompt = Prompt(body.inputs, body.parameters)
    answer = await unless_client_leaves(request, context.infer.answer(prompt))
    return json_response(_response_of(prompt, answer), headers.of_answer(context.compute_type, prompt.text, answer.end))


@router.post(
    "/generate_stream",
    status_code=200,
    response_class=EventStream,
    responses=streaming("StreamResponse", "ErrorResponse"),
)
async def generate_stream(body: GenerateRequest, context: Context) -> Response:
    """Generate tokens as Server-Sent Events."""
    return _streamed(Prompt(body.inputs, body.parameters), context)


@router.post("/tokenize", response_model=TokenizeResponse, responses=VALIDATION_ERROR)
async def tokenize(body: GenerateRequest, context: Context) -> Response:
    """Tokenize `inputs`."""
    tokens = await context.prompts.token_list(body.inputs, add_special_tokens=True)
    return Response(tokens, media_type="application/json")


def _streamed(prompt: Prompt, context: ServerContext) -> Response:
    return EventStream(_events(prompt, context), headers.of_stream(context.compute_type, [prompt.text]))


async def _events(prompt: Prompt, context: ServerContext) -> Events:
    try:
        async with aclosing(context.infer.stream(prompt)) as steps:
            index = 0
            async for step in steps:
                index += 1
                yield event(_stream_response(prompt, index, step))
    except ApiError as error:
        context.count_failure(error)
        yield error_event(error)


def _response_of(prompt: Prompt, answer: Answer) -> GenerateResponse:
    parameters, text = prompt.parameters, answer.end.text
    if not (parameters.details or parameters.decoder_input_details):
        return GenerateResponse(generated_text=text)
    others = [BestOfSequence(generated_text=other.end.text, **_details_of(other)) for other in answer.others]
    return GenerateResponse(generated_text=text, details=Details(best_of_sequences=others, **_details_of(answer)))


def _details_of(answer: Answer) -> dict[str, Any]:
    finish = answer.end.finish
    top_tokens = [[Token.model_validate(other) for other in token.top_tokens] for token in answer.tokens]
    return {
        "finish_reason": finish.reason,
        "generated_tokens": finish.generated_tokens,
        "seed": answer.end.seed,
        "prefill": [PrefillToken.model_validate(token) for token in finish.prefill],
        "tokens": [Token.model_validate(token) for token in answer.tokens],
        "top_tokens": top_tokens if any(top_tokens) else [],
    }


def _stream_response(prompt: Prompt, index: int, step: Step) -> dict[str, Any]:
    """The JSON of a StreamResponse: a plain dictionary, because there is one for every token."""
    token, end = step.token, step.end
    top_tokens = {"top_tokens": [_token_json(other) for other in token.top_tokens]} if token.top_tokens else {}
    return {
        "index": index,
        "token": _token_json(token),
        **top_tokens,
        "generated_text": end.text if end else None,
        "details": _stream_details(end) if end and prompt.parameters.details else None,
    }


def _stream_details(end: End) -> dict[str, Any]:
    return {
        "finish_reason": end.finish.reason.value,
        "generated_tokens": end.finish.generated_tokens,
        "seed": end.seed,
        "input_length": end.input_length,
    }


def _token_json(token: EngineToken) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}
