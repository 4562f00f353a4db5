"""Health, metrics and what is served: routes that need no API key, as in TGI."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from tgi_autoround.server.context import Context
from tgi_autoround.server.documentation import TAG
from tgi_autoround.server.responses import json_response
from tgi_autoround.server.schemas.base import ErrorResponse
from tgi_autoround.server.schemas.info import Info, ModelInfo, ModelsInfo

router = APIRouter(tags=[TAG])


@router.get("/", include_in_schema=False)
@router.get("/ping", include_in_schema=False)
@router.get("/health", response_class=Response, responses={503: {"model": ErrorResponse}})
async def health(context: Context) -> Response:
    """Whether the engine works."""
    if context.bridge.healthy():
        return Response()
    return json_response(ErrorResponse(error="unhealthy", error_type="healthcheck"), status=503)


@router.get("/info", response_model=Info)
async def info(context: Context) -> Response:
    """What is served and within which limits."""
    return json_response(context.info)


@router.get("/v1/models", response_model=ModelsInfo)
async def models(context: Context) -> Response:
    """The served model, as OpenAI lists models."""
    model_id = context.info.model_id
    return json_response(ModelsInfo(data=[ModelInfo(id=model_id, owned_by=model_id)]))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(context: Context) -> Response:
    """Prometheus metrics."""
    return PlainTextResponse(context.metrics.render())


@router.get("/api-doc/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The OpenAPI document at TGI's address."""
    return JSONResponse(request.app.openapi())
