"""How many tokens a prompt has, by the server that will get it: no tokenizer is needed here."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.llmload.request import ProtocolName

TIMEOUT_S = 30
TokenCount = Callable[[str], int]


class ServerTokenizer:
    """TGI's /tokenize and /chat_tokenize."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def counter(self, protocol: ProtocolName) -> TokenCount:
        """What the prompt of one user message costs in that protocol, template and special tokens included."""
        return self._count_chat if protocol.startswith("openai-chat") else self._count_plain

    def _count_plain(self, text: str) -> int:
        return len(self._post("/tokenize", {"inputs": text}))

    def _count_chat(self, text: str) -> int:
        answer = self._post("/chat_tokenize", {"messages": [{"role": "user", "content": text}]})
        return len(answer["tokenize_response"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        url = self._base_url + path
        request = urllib.request.Request(url, json.dumps(body).encode(), self._headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            raise LoadTestError(
                f"Synthetic prompts are counted by the server, and {url} does not do it: {error}. "
                "Servers without it can be tested with the prompt sources builtin, jsonl and sharegpt."
            ) from error
