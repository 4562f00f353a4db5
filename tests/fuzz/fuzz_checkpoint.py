"""Fuzz what opens a checkpoint: config.json, the safetensors header and the index, all at once.

    python tests/fuzz/fuzz_checkpoint.py -max_total_time=60

Arguments are libFuzzer's. Whatever is no TgiAutoRoundError, takes 5 s or 2 GB is a finding.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["tgi_autoround"]):
    from tests.checkpoint.drafts import read_everything, write_files
    from tgi_autoround.errors import TgiAutoRoundError
from tests.fuzz.inputs import SEPARATOR, files_of, seeds
from tests.fuzz.json_mutator import mutate_json

LIMITS = ("-timeout=5", "-rss_limit_mb=2048", "-max_len=8192")


def open_input(data: bytes) -> None:
    """Read an input's checkpoint; refusing it, in words that can be printed, is fine."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            read_everything(write_files(files_of(data), Path(directory)))
        except TgiAutoRoundError as error:
            str(error).encode()


def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
    """Change one of the texts as JSON, or any bytes as libFuzzer does."""
    choices = random.Random(seed)
    if choices.random() < 0.2:
        return atheris.Mutate(data, max_bytes)
    texts = data.split(SEPARATOR)
    chosen = choices.randrange(len(texts))
    texts[chosen] = mutate_json(texts[chosen], choices)
    return SEPARATOR.join(texts)[:max_bytes]


def main() -> None:
    """Run libFuzzer over a corpus that begins with the seeds."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], corpus], open_input, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
