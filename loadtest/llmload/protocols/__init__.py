"""The APIs that can be put under load: how a request is written, and how its answer is read."""

from collections.abc import Mapping

from loadtest.llmload.protocols.api import Api
from loadtest.llmload.protocols.openai import Chat, Completions
from loadtest.llmload.protocols.tgi import Generate
from loadtest.llmload.request import ProtocolName

APIS: Mapping[ProtocolName, Api] = {
    "tgi-generate": Generate(streaming=False),
    "tgi-generate-stream": Generate(streaming=True),
    "openai-chat": Chat(streaming=False),
    "openai-chat-stream": Chat(streaming=True),
    "openai-completions": Completions(streaming=False),
    "openai-completions-stream": Completions(streaming=True),
}
