"""How many prompt tokens a step may compute while streams wait for their next token."""

STRETCH = 2.25
"""A step with prompt tokens takes about this many times one without, so that streams keep their pace while a long
prompt enters. The slowest hundredth of such steps has to stay below 3; what is between is for what no estimate sees.
Lower makes prompts slow: of a 1.1B model on a CPU, 16 rows beside a decoding one cost 1.9 times a step without them and
32 cost 2.4 times, so twice as many tokens a step is a prompt computed in two thirds of the time.
"""
SMALLEST_CHUNK_TOKENS = 16
"""Fewer gain streams nothing: a step takes as long for one row as for a few."""
MEMORY = 0.8
"""Weight of the estimates so far when a step is measured."""


class Pace:
    """Learns from steps as they run what a row of the model costs, and a step that only decodes."""

    def __init__(self) -> None:
        self._decode_s = 0.0
        self._decode_rows = 0.0
        self._row_s = 0.0

    def record(self, decoding: int, prompt_tokens: int, step_s: float) -> None:
        """Take a step's duration into account."""
        if not prompt_tokens:
            self._decode_s = _blend(self._decode_s, step_s)
            self._decode_rows = _blend(self._decode_rows, decoding)
        elif prompt_tokens >= SMALLEST_CHUNK_TOKENS:
            self._row_s = _blend(self._row_s, max(step_s - self._decoding_s(decoding), 0.0) / prompt_tokens)

    def prompt_tokens(self, decoding: int) -> int:
        """Return the number of prompt tokens that stretches a step of `decoding` sequences by STRETCH."""
        if not self._row_s:
            return SMALLEST_CHUNK_TOKENS
        return max(SMALLEST_CHUNK_TOKENS, int((STRETCH - 1) * self._decoding_s(decoding) / self._row_s))

    def _decoding_s(self, decoding: int) -> float:
        """What a step of so many decoding sequences takes, going on from the size last measured."""
        if not decoding:
            return 0.0
        return max(self._decode_s + (decoding - self._decode_rows) * self._row_s, 0.0)


def _blend(estimate: float, measured: float) -> float:
    return MEMORY * estimate + (1 - MEMORY) * measured if estimate else measured
