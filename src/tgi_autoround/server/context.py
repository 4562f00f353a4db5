"""What the routes share, and how they reach it."""

import logging
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from tgi_autoround.server.bridge import Bridge
from tgi_autoround.server.chat_template import ChatTemplate
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.infer import Infer
from tgi_autoround.server.metrics import Metrics
from tgi_autoround.server.prompts import Prompts
from tgi_autoround.server.schemas.info import Info

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerContext:
    """One served model."""

    info: Info
    prompts: Prompts
    chat_template: ChatTemplate
    bridge: Bridge
    infer: Infer
    metrics: Metrics
    compute_type: str
    returns_full_text: bool
    """Whether `/` answers with the prompt too where a request does not say."""

    def count_failure(self, error: ApiError) -> None:
        """Count and log a request that gets an error."""
        self.metrics.on_failure(error.counted_as)
        logger.error("%s", error)

    @property
    def fingerprint(self) -> str:
        """TGI's `system_fingerprint`."""
        return f"{self.info.version}-{self.info.docker_label or 'native'}"


def context_of(request: Request) -> ServerContext:
    """Return the context of the application that serves `request`."""
    context = request.app.state.context
    if not isinstance(context, ServerContext):
        raise TypeError("the application was made without a ServerContext")
    return context


Context = Annotated[ServerContext, Depends(context_of)]
