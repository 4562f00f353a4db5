"""Puts the parts of the server together around an engine."""

import os
from typing import TYPE_CHECKING

import torch
from fastapi import FastAPI
from transformers import PreTrainedTokenizerBase

from tgi_autoround import __version__
from tgi_autoround.engine import Engine, EngineLimits
from tgi_autoround.server.app import create_app
from tgi_autoround.server.bridge import Bridge
from tgi_autoround.server.chat_template import ChatTemplate
from tgi_autoround.server.context import ServerContext
from tgi_autoround.server.grammar_compiler import GrammarCompiler
from tgi_autoround.server.infer import Infer
from tgi_autoround.server.metrics import Metrics
from tgi_autoround.server.model_source import ModelSource
from tgi_autoround.server.prompts import Prompts
from tgi_autoround.server.schemas.info import Info
from tgi_autoround.server.settings import ServeConfig
from tgi_autoround.server.spans import Spans
from tgi_autoround.server.validation import Validator

if TYPE_CHECKING:
    from tgi_autoround.server.tracing import Tracing


def assemble(
    config: ServeConfig,
    source: ModelSource,
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    tracing: "Tracing | None" = None,
) -> FastAPI:
    """Return the application for `engine`, which reports its steps to the metrics and stops with the server."""
    metrics = Metrics(engine.limits)
    engine.observer = metrics
    bridge = Bridge(engine, config.max_concurrent_requests, metrics)
    prompts = Prompts(tokenizer, config.validation_workers)
    compiler = GrammarCompiler(engine.grammars)
    context = ServerContext(
        info=_info(config, source, engine.limits),
        prompts=prompts,
        chat_template=ChatTemplate(tokenizer),
        bridge=bridge,
        infer=Infer(Validator(config, engine, prompts, compiler), bridge, metrics, Spans(tracing)),
        metrics=metrics,
        compute_type=os.environ.get("COMPUTE_TYPE") or _compute_type(),
        returns_full_text=source.pipeline_tag in (None, "text-generation"),
    )

    def stop() -> None:
        compiler.close()
        engine.stop()

    return create_app(context, config, on_shutdown=stop)


def _info(config: ServeConfig, source: ModelSource, limits: EngineLimits) -> Info:
    return Info(
        model_id=str(config.model_id),
        model_sha=source.sha,
        model_pipeline_tag=source.pipeline_tag,
        max_concurrent_requests=config.max_concurrent_requests,
        max_best_of=config.max_best_of,
        max_stop_sequences=config.max_stop_sequences,
        max_input_tokens=limits.max_input_tokens,
        max_total_tokens=limits.max_total_tokens,
        validation_workers=config.validation_workers,
        max_client_batch_size=config.max_client_batch_size,
        router="tgi-autoround",
        version=__version__,
        sha=None,
        docker_label=os.environ.get("DOCKER_LABEL"),
    )


def _compute_type() -> str:
    """Name the device as TGI's launcher does: count and type."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"1-{torch.cuda.get_device_name(0).lower().replace(' ', '-')}"
