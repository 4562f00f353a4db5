"""AutoRound checkpoints: config.json -> specs -> tensors -> normal form."""

from tgi_autoround.checkpoint.normal_form import NormalForm
from tgi_autoround.checkpoint.reader import Checkpoint, open_checkpoint
from tgi_autoround.checkpoint.spec import LayerSpec, Packing, QuantScheme

__all__ = ["Checkpoint", "LayerSpec", "NormalForm", "Packing", "QuantScheme", "open_checkpoint"]
