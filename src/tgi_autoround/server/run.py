"""From options to a running server, and from SIGTERM to a clean end."""

import json
import logging
import platform
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from transformers import PreTrainedTokenizerBase

from tgi_autoround import __version__
from tgi_autoround.engine import EngineConfig, build_engine
from tgi_autoround.engine.config import LoraAdapter
from tgi_autoround.errors import ConfigError
from tgi_autoround.server.assembly import assemble
from tgi_autoround.server.model_source import ModelSource, find_adapters
from tgi_autoround.server.settings import ServeConfig, bytes_of, cuda_graphs_of

if TYPE_CHECKING:
    from tgi_autoround.server.tracing import Tracing

logger = logging.getLogger(__name__)


def run(config: ServeConfig, source: ModelSource, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Raises TgiAutoRoundError where the server cannot start."""
    # Process 1 of a container ignores SIGTERM unless it handles it, and loading a model can take minutes.
    signal.signal(signal.SIGTERM, _leave_while_loading)
    if config.env:
        logger.info("%s", _versions())
    tracing = _tracing(config)
    engine, tokenizer, _ = build_engine(_engine_config(config, source.path))
    _use_tokenizer_config(tokenizer, config.tokenizer_config_path)
    app = assemble(config, source, engine, tokenizer, tracing)
    engine.start()
    _serve(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=config.graceful_termination_timeout,
        ),
        listener,
    )
    if tracing is not None:
        tracing.close()


def _serve(config: uvicorn.Config, listener: socket.socket) -> None:
    server = uvicorn.Server(config)

    def leave_unless_served(number: int, frame: FrameType | None) -> None:
        """Keep exit code 0: uvicorn raises the signal that stopped it again once it has shut down."""
        if not server.started:
            _leave_while_loading(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave_unless_served)
    host, port = listener.getsockname()[:2]
    logger.info("Connected: http://%s:%d", host, port)
    server.run(sockets=[listener])


def _leave_while_loading(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _tracing(config: ServeConfig) -> "Tracing | None":
    if config.otlp_endpoint is None:
        return None
    try:
        from tgi_autoround.server.tracing import Tracing
    except ImportError as error:
        raise ConfigError(
            f"--otlp-endpoint needs a package that is not installed ({error.name}); "
            "install it with: pip install 'tgi-autoround[otlp]'"
        ) from error
    return Tracing(config.otlp_endpoint, config.otlp_service_name)


def _engine_config(config: ServeConfig, path: Path) -> EngineConfig:
    return EngineConfig(
        model_dir=path,
        quantize=config.quantize,
        dtype=config.dtype,
        cpu_compute="fp32" if config.cpu_compute == "fp32" else "int8",
        max_input_tokens=config.max_input_tokens,
        max_total_tokens=config.max_total_tokens,
        max_batch_prefill_tokens=config.max_batch_prefill_tokens,
        max_batch_total_tokens=config.max_batch_total_tokens,
        max_batch_size=config.max_batch_size,
        kv_cache_bytes=bytes_of(config.kv_cache_memory) if config.kv_cache_memory else None,
        kv_cache_dtype=config.kv_cache_dtype,
        max_waiting_tokens=config.max_waiting_tokens,
        waiting_served_ratio=config.waiting_served_ratio,
        prefix_caching=config.prefix_caching,
        trust_remote_code=config.trust_remote_code,
        threads=config.threads,
        cuda_graphs=cuda_graphs_of(config.cuda_graphs),
        cuda_memory_fraction=config.cuda_memory_fraction,
        lm_head_bits=config.lm_head_bits,
        lora_adapters=tuple(LoraAdapter(name, path) for name, path in find_adapters(config).items()),
    )


def _use_tokenizer_config(tokenizer: PreTrainedTokenizerBase, path: str | None) -> None:
    """Take the chat template from another tokenizer_config.json."""
    if path is None:
        return
    try:
        fields: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tokenizer-config-path {path} cannot be read: {error}") from error
    if "chat_template" not in fields:
        raise ConfigError(f"--tokenizer-config-path {path} has no chat_template")
    tokenizer.chat_template = fields["chat_template"]


def _versions() -> dict[str, str]:
    import torch
    import transformers

    return {
        "tgi-autoround": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
