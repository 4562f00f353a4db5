"""Gaudi's op, emulated: no test here says anything of a card's speed or rounding."""

import hpu_emulation

hpu_emulation.register()
