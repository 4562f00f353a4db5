"""Requests in, tokens out: scheduler, cache, model step, sampling, detokenization."""

from tgi_autoround.engine.build import build_engine
from tgi_autoround.engine.config import EngineConfig, EngineLimits
from tgi_autoround.engine.engine import Engine
from tgi_autoround.engine.observer import Observer, StepReport
from tgi_autoround.engine.request import (
    Failure,
    Finish,
    FinishReason,
    Grammar,
    OnEvent,
    Output,
    PrefillToken,
    Request,
    SamplingParams,
    Token,
    Watermark,
)

__all__ = [
    "Engine",
    "EngineConfig",
    "EngineLimits",
    "Failure",
    "Finish",
    "FinishReason",
    "Grammar",
    "Observer",
    "OnEvent",
    "Output",
    "PrefillToken",
    "Request",
    "SamplingParams",
    "StepReport",
    "Token",
    "Watermark",
    "build_engine",
]
