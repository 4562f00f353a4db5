"""The ASGI application: routes, middleware, error handlers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from tgi_autoround import __version__
from tgi_autoround.server import (
    rejections,
    routes_chat,
    routes_completions,
    routes_generate,
    routes_info,
    routes_platforms,
)
from tgi_autoround.server.context import ServerContext
from tgi_autoround.server.documentation import TAG, DocumentedApp
from tgi_autoround.server.errors import ApiError, ClientLeftError
from tgi_autoround.server.middleware import ApiKey, JsonBody
from tgi_autoround.server.settings import ServeConfig
from tgi_autoround.server.spans import IncomingRequests


def create_app(context: ServerContext, config: ServeConfig, on_shutdown: Callable[[], None]) -> FastAPI:
    """Return the application for one served model; `on_shutdown` runs when its server stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        on_shutdown()

    app = DocumentedApp(
        title=TAG,
        version=__version__,
        license_info={"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        lifespan=lifespan,
        separate_input_output_schemas=False,
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.context = context
    for routes in (routes_generate, routes_chat, routes_completions, routes_platforms):
        app.include_router(routes.router)
    app.include_router(routes_chat.open_router)
    app.include_router(routes_info.router)
    _add_error_handlers(app)
    _add_middleware(app, config)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, rejections.on_api_error)
    app.add_exception_handler(RequestValidationError, rejections.on_wrong_body)
    app.add_exception_handler(HTTPException, rejections.on_http_error)
    app.add_exception_handler(ClientLeftError, rejections.on_client_left)


def _add_middleware(app: FastAPI, config: ServeConfig) -> None:
    """The one added last sees a request first."""
    app.add_middleware(IncomingRequests)
    app.add_middleware(JsonBody, limit_bytes=config.payload_limit)
    if config.api_key:
        app.add_middleware(ApiKey, key=config.api_key)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(config.cors_allow_origin) or ["*"],
        allow_methods=["GET", "POST"],
        allow_headers=["content-type"],
    )
