"""Serve LLMs quantized with Intel AutoRound behind Text Generation Inference's API."""

from importlib.metadata import version

__version__ = version("tgi-autoround")
