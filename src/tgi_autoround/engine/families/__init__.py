"""How each family of transformers' models is made to attend through the engine's cache."""

from tgi_autoround.engine.families.interface import check_every_layer_attended, install

__all__ = ["check_every_layer_attended", "install"]
