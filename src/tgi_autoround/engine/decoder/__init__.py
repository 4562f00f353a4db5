"""The common decoder, run without the modules of transformers: what most language models are."""

from tgi_autoround.engine.decoder.weights import DecoderWeights, LayerWeights, fusions, read

__all__ = ["DecoderWeights", "LayerWeights", "fusions", "read"]
