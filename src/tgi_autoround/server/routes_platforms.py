"""Routes that cloud platforms call: SageMaker's `/invocations` and Vertex AI's `/vertex`."""

import logging

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tgi_autoround.server import spans
from tgi_autoround.server.chat import prompt_of
from tgi_autoround.server.context import Context, ServerContext
from tgi_autoround.server.documentation import GENERATION_ERRORS, TAG, streaming
from tgi_autoround.server.errors import ApiError, EmptyVertexError, OverloadedError, VertexError
from tgi_autoround.server.infer import Prompt
from tgi_autoround.server.json_route import JsonRoute
from tgi_autoround.server.responses import json_response
from tgi_autoround.server.routes_chat import chat_completions
from tgi_autoround.server.routes_completions import completions
from tgi_autoround.server.routes_generate import compat_generate
from tgi_autoround.server.schemas.chat import ChatRequest
from tgi_autoround.server.schemas.generate import CompatGenerateRequest, GenerateParameters
from tgi_autoround.server.schemas.platforms import (
    SagemakerRequest,
    SagemakerResponse,
    VertexInstance,
    VertexRequest,
    VertexResponse,
)
from tgi_autoround.server.stream import unless_client_leaves
from tgi_autoround.server.tasks import all_of

logger = logging.getLogger(__name__)

router = APIRouter(tags=[TAG], route_class=JsonRoute)


@router.post(
    "/invocations",
    response_model=SagemakerResponse,
    responses=streaming("SagemakerStreamResponse", "ErrorResponse", "OpenAIErrorEvent"),
)
async def invocations(body: SagemakerRequest, request: Request, context: Context) -> Response:
    """Answer as the route does whose request the body is: `/`, chat or completions."""
    given = body.root
    if isinstance(given, CompatGenerateRequest):
        return await compat_generate(given, request, context)
    if isinstance(given, ChatRequest):
        spans.serve_as(spans.CHAT)
        return await chat_completions(given, request, context)
    spans.serve_as(spans.COMPLETIONS)
    return await completions(given, request, context)


@router.post("/vertex", response_model=VertexResponse, responses=GENERATION_ERRORS)
async def vertex(body: VertexRequest, request: Request, context: Context) -> Response:
    """Continue every instance; one that fails fails them all."""
    if not body.instances:
        raise EmptyVertexError
    if len(body.instances) > context.info.max_concurrent_requests:
        raise OverloadedError
    prompts = [_prompt_of(instance, context) for instance in body.instances]
    try:
        answers = await unless_client_leaves(request, all_of(context.infer.answer(prompt) for prompt in prompts))
    except ApiError as error:
        logger.error("An instance of /vertex failed: %s", error)
        raise VertexError(error) from error
    return json_response(VertexResponse(predictions=[answer.end.text for answer in answers]))


def _prompt_of(instance: VertexInstance, context: ServerContext) -> Prompt:
    if isinstance(instance, ChatRequest):
        return prompt_of(instance, context.chat_template).prompt
    given = instance.parameters or GenerateParameters()
    return Prompt(
        instance.inputs,
        GenerateParameters(do_sample=True, max_new_tokens=given.max_new_tokens, seed=given.seed, details=True),
    )
