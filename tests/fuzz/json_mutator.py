"""Mutations of JSON that stay JSON, so that a fuzzer gets past the parser; what breaks JSON is left to libFuzzer."""

import json
import random
from typing import Any

ODD_VALUES = (
    *(None, True, False, "", "4", "a*", "(a+)+$", ".*" * 20, "../a.safetensors", "\ud800", "\0"),
    *(0, -1, 1, 2, 3, 4, 8, 16, 31, 2**31, 2**63, 2**64, 10**99, 0.5, 1e999),
    *([], {}, [[]], [[[["a"]]]], {"bits": 8}, [0, 0], [1, 0], [2**62, 2**62]),
)


def mutate_json(content: bytes, choices: random.Random) -> bytes:
    """Return a JSON text with one value or key of `content` replaced, removed, copied or swapped."""
    try:
        root = json.loads(content)
    except (ValueError, RecursionError):
        return content
    containers = _containers(root)
    if not containers:
        return content
    mutation = choices.choice((_replace, _remove, _copy_value, _rename))
    mutation(choices.choice(containers), root, choices)
    return json.dumps(root).encode()


def _containers(root: Any) -> list[Any]:
    found, level = [], [root]
    while level:
        level = [value for value in level if isinstance(value, dict | list) and value]
        found += level
        level = [child for parent in level for child in (parent.values() if isinstance(parent, dict) else parent)]
    return found


def _key(container: Any, choices: random.Random) -> Any:
    return choices.choice(list(container) if isinstance(container, dict) else range(len(container)))


def _replace(container: Any, _root: Any, choices: random.Random) -> None:
    container[_key(container, choices)] = choices.choice(ODD_VALUES)


def _remove(container: Any, _root: Any, choices: random.Random) -> None:
    del container[_key(container, choices)]


def _copy_value(container: Any, root: Any, choices: random.Random) -> None:
    """Put what stands elsewhere here, through text so that nothing becomes its own child."""
    source = choices.choice(_containers(root))
    container[_key(container, choices)] = json.loads(json.dumps(source[_key(source, choices)]))


def _rename(container: Any, _root: Any, choices: random.Random) -> None:
    if isinstance(container, list):
        choices.shuffle(container)
        return
    key = _key(container, choices)
    container[choices.choice((f"{key}.weight", key[:-1], key.rpartition(".")[0], key.replace("0", "1")))] = container[
        key
    ]
