from habana_frameworks.torch.hpu import random

__all__ = ["random"]
