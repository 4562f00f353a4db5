"""tokenizer_config.json in transformers 5's terms -> in those of transformers 4.51 and of TGI 3.3.7's router.

All of this may go when TGI's images hold transformers 5.
"""

from collections.abc import Mapping
from typing import Any

CLASS_OF_5 = "TokenizersBackend"
CLASS_OF_4 = "PreTrainedTokenizerFast"
"""In 4.51 the class that does what tokenizer.json says and nothing else, as all classes of transformers 5 do."""

ChatTemplate = str | list[dict[str, str]]


def older_tokenizer_config(config: Mapping[str, Any], chat_template: ChatTemplate | None) -> dict[str, Any]:
    """Return tokenizer_config.json's content with a class that 4.51 has, its names, and the chat template inside.

    4.51's own classes would put their defaults in place of what tokenizer.json says: its LlamaTokenizer and
    GemmaTokenizer add a BOS token unless `add_bos_token` says otherwise, which transformers 5 no longer writes. The
    router reads the template from tokenizer_config.json or chat_template.json, never from chat_template.jinja
    (router/src/server.rs, v3.3.7).
    """
    older = dict(config)
    if older.pop("backend", None) == "tokenizers" or older.get("tokenizer_class") == CLASS_OF_5:
        older["tokenizer_class"] = CLASS_OF_4
    if isinstance(older.get("extra_special_tokens"), list):
        # 4.51 calls the list so, and fails where `extra_special_tokens` is anything but names -> tokens.
        older["additional_special_tokens"] = older.pop("extra_special_tokens")
    if isinstance(older.get("model_specific_special_tokens"), dict):
        older["extra_special_tokens"] = older.pop("model_specific_special_tokens")
    if chat_template is not None:
        older.setdefault("chat_template", chat_template)
    return older
