"""Logits -> the next token of every sequence of a batch, by TGI's rules and in TGI's order.

A `Chooser` takes the whole batch; each sequence brings a `Sampler`, which holds what its choices depend on, so that a
request's tokens are the same whoever shares its batch.
"""

from tgi_autoround.engine.sampling.batch import Chooser
from tgi_autoround.engine.sampling.choice import Choice
from tgi_autoround.engine.sampling.sampler import Sampler

__all__ = ["Choice", "Chooser", "Sampler"]
