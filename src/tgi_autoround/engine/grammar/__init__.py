"""Grammars: what a request's text has to be, compiled once, and each sequence's place in it.

The machine that knows which tokens may come next is llguidance's; docs/adr/0004 says why.
"""

from tgi_autoround.engine.grammar.cache import Grammars
from tgi_autoround.engine.grammar.state import GrammarState

__all__ = ["GrammarState", "Grammars"]
