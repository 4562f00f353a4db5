from torch import get_rng_state, set_rng_state

__all__ = ["get_rng_state", "set_rng_state"]
