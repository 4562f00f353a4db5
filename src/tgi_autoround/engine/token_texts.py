"""Single tokens as texts, the way TGI shows the prompt's tokens and the likeliest ones."""

from transformers import PreTrainedTokenizerBase


class TokenTexts:
    """The text of each token by itself, decoded once, and whether it is a special one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._texts: dict[int, str] = {}

    def text(self, token_id: int) -> str:
        """Return the token's text; a replacement character where it is only part of one."""
        if token_id not in self._texts:
            self._texts[token_id] = self._tokenizer.decode([token_id])
        return self._texts[token_id]

    def is_special(self, token_id: int) -> bool:
        """Return whether the token stands for something else than text."""
        return token_id in self._special_ids
