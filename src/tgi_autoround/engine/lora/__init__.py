"""LoRA adapters: a low-rank product added to what some linears compute, for each request its own or none.

    adapters = install(model, config.lora_adapters)   # wraps the linears that an adapter changes
    adapters.assign(plan)                              # before each step: whose rows are whose

The model keeps transformers' own forward, whose linears can be wrapped one by one.
"""

from tgi_autoround.engine.lora.install import install
from tgi_autoround.engine.lora.linear import Adapters

__all__ = ["Adapters", "install"]
