"""Gaudi's op, emulated: importing this registers it, once a process. It says nothing of a card's speed or rounding."""

import hpu_emulation

hpu_emulation.register()
