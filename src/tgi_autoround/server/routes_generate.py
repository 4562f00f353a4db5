"""TGI's own routes: `/`, `/generate`, `/generate_stream`, `/tokenize`."""

from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tgi_autoround.server import headers
from tgi_autoround.server.context import Context, ServerContext
from tgi_autoround.server.documentation import GENERATION_ERRORS, TAG, VALIDATION_ERROR
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.infer import Answer, Prompt, Step
from tgi_autoround.server.json_route import JsonRoute
from tgi_autoround.server.prompts import simple_tokens
from tgi_autoround.server.responses import error_event, json_list_response, json_response
from tgi_autoround.server.schemas.generate import (
    CompatGenerateRequest,
    Details,
    GenerateRequest,
    GenerateResponse,
    StreamDetails,
    StreamResponse,
    TokenizeResponse,
)
from tgi_autoround.server.stream import Events, EventStream, event, unless_client_leaves

router = APIRouter(tags=[TAG], route_class=JsonRoute)


@router.post("/", response_model=list[GenerateResponse] | StreamResponse, responses=GENERATION_ERRORS)
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


@router.post("/generate_stream", response_model=StreamResponse, responses=GENERATION_ERRORS)
async def generate_stream(body: GenerateRequest, context: Context) -> Response:
    """Generate tokens as Server-Sent Events."""
    return _streamed(Prompt(body.inputs, body.parameters), context)


@router.post("/tokenize", response_model=TokenizeResponse, responses=VALIDATION_ERROR)
async def tokenize(body: GenerateRequest, context: Context) -> Response:
    """Tokenize `inputs`."""
    encoding = await context.prompts.encode(body.inputs, add_special_tokens=True)
    return json_response(TokenizeResponse(simple_tokens(body.inputs, encoding)))


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
    parameters, end = prompt.parameters, answer.end
    if not (parameters.details or parameters.decoder_input_details):
        return GenerateResponse(generated_text=end.text)
    details = Details(
        finish_reason=end.finish.reason,
        generated_tokens=end.finish.generated_tokens,
        seed=end.seed,
        prefill=[],
        tokens=answer.tokens,
    )
    return GenerateResponse(generated_text=end.text, details=details)


def _stream_response(prompt: Prompt, index: int, step: Step) -> StreamResponse:
    end = step.end
    if end is None:
        return StreamResponse(index=index, token=step.token)
    details = StreamDetails(
        finish_reason=end.finish.reason,
        generated_tokens=end.finish.generated_tokens,
        seed=end.seed,
        input_length=end.input_length,
    )
    return StreamResponse(
        index=index,
        token=step.token,
        generated_text=end.text,
        details=details if prompt.parameters.details else None,
    )
