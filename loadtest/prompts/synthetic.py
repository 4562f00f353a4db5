"""Texts of an exact number of tokens."""

from collections.abc import Callable, Sequence
from random import Random

from loadtest.errors import LoadTestError
from loadtest.prompts.builtin import shuffled_words
from loadtest.prompts.counting import TokenCount
from loadtest.prompts.talk import Talk
from loadtest.scenario import Synthetic

FILLERS = (" a", ".", "\n", " x")
FILLINGS = 6
"""Tokenizers may join fillers into fewer tokens, so that some are missing again."""
FEWER_WORDS_TRIED = 12
FILLED_UP_TOKENS = 8
"""So few missing tokens are filled up rather than searched for."""
TOKENS_PER_WORD = 1.5


def synthetic_talks(source: Synthetic, lengths: Sequence[int], seed: str, count: TokenCount) -> list[Talk]:
    """One prompt of each length in tokens, no two alike beyond the prefix they share.

    Raises LoadTestError for a length that cannot be met, such as one below that of the chat template.
    """
    prefixes = [_prefix(source, f"{seed}:prefix:{number}", count) for number in range(source.prefixes)]
    return [
        Talk((_prompt(source, prefixes[number % len(prefixes)], length, f"{seed}:{number}", count),))
        for number, length in enumerate(lengths)
    ]


def _prefix(source: Synthetic, seed: str, count: TokenCount) -> str:
    if not source.shared_prefix_tokens:
        return ""
    words = _words(source, seed, source.shared_prefix_tokens)
    return text_of_length(source.shared_prefix_tokens, words, lambda body: body, count)


def _prompt(source: Synthetic, prefix: str, length: int, seed: str, count: TokenCount) -> str:
    def frame(body: str) -> str:
        return "\n\n".join(piece for piece in (prefix, body, source.instruction) if piece)

    return text_of_length(length, _words(source, seed, length), frame, count)


def _words(source: Synthetic, seed: str, tokens: int) -> list[str]:
    """At least as many words as tokens are wanted; the first ones are the seed, so that no cache knows the text."""
    random = Random(seed)
    words = [f"[{random.getrandbits(32):08x}]"]
    while len(words) < tokens:
        words += [" ", *shuffled_words(source.texts, random)]
    return words


def text_of_length(target: int, words: Sequence[str], frame: Callable[[str], str], count: TokenCount) -> str:
    """`frame` of as many words as fit, filled up to exactly `target` tokens.

    Raises LoadTestError when that cannot be done.
    """
    smallest = count(frame(words[0]))
    if smallest > target:
        raise LoadTestError(
            f"A synthetic prompt of {target} tokens is too short: what surrounds the text (chat template, shared "
            f"prefix, instruction) takes {smallest} with one word in it. Raise prompt_tokens, or its min."
        )
    most = _words_that_fit(target, words, frame, count, smallest)
    for number in range(most, max(most - FEWER_WORDS_TRIED, 0), -1):
        if (text := _filled_up(target, "".join(words[:number]), frame, count)) is not None:
            return text
    raise LoadTestError(f"No text of exactly {target} tokens was found; the server's tokenizer joins what is appended.")


def _words_that_fit(
    target: int, words: Sequence[str], frame: Callable[[str], str], count: TokenCount, smallest: int
) -> int:
    """A number of words with at most `target` tokens and nearly as many, by bisection that aims by the last count."""
    fits, too_many, tokens_at_fits = 1, len(words) + 1, smallest
    tokens_per_word = TOKENS_PER_WORD
    while too_many - fits > 1 and target - tokens_at_fits > FILLED_UP_TOKENS:
        guess = fits + int((target - tokens_at_fits) / tokens_per_word)
        number = min(max(guess, fits + 1), too_many - 1)
        tokens = count(frame("".join(words[:number])))
        tokens_per_word = max((tokens - smallest) / (number - 1), 0.1)
        if tokens <= target:
            fits, tokens_at_fits = number, tokens
        else:
            too_many = number
    return fits


def _filled_up(target: int, text: str, frame: Callable[[str], str], count: TokenCount) -> str | None:
    for filler in FILLERS:
        body = text
        for _ in range(FILLINGS):
            missing = target - count(frame(body))
            if missing == 0:
                return frame(body)
            body += filler * missing
    return None
