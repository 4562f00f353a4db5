"""Gaudi's op is emulated for every test here."""

from tests.gaudi import emulated_op  # noqa: F401 - registers it
