"""Fuzz what opens a checkpoint: config.json, the safetensors header and the index, all at once.

    python tests/fuzz/fuzz_checkpoint.py -max_total_time=60

Arguments are libFuzzer's. An input is the three texts, joined by SEPARATOR; the tensors' bytes are made up to the
length that the header asks for. Whatever is no TgiAutoRoundError, takes 5 s or 2 GB is a finding.
"""

import json
import random
import re
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["tgi_autoround"]):
    from tests.checkpoint.drafts import (
        CONFIG,
        IN_FEATURES,
        INDEX,
        LAYER,
        OUT_FEATURES,
        QUANTIZATION,
        WEIGHTS,
        Edit,
        Files,
        both,
        entry,
        header_of,
        part,
        read_everything,
        sound_files,
        write_files,
    )
    from tgi_autoround.errors import TgiAutoRoundError
from tests.fuzz.json_mutator import mutate_json

SEPARATOR = b"\n\xff\n"
SHARD = "a.safetensors"
SOUND_BYTE = b"\x77"  # GPTQ's zero points of symmetric 4-bit layers, and finite as float16
MAX_DATA_BYTES = 2**16
LIMITS = ("-timeout=5", "-rss_limit_mb=2048", "-max_len=8192")
_OFFSETS = re.compile(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d{1,5})\s*\]')


def files_of(data: bytes) -> Files:
    """Return the checkpoint that an input describes."""
    config, header, index = (*data.split(SEPARATOR), b"", b"")[:3]
    data_bytes = max((int(end) for end in _OFFSETS.findall(header)), default=0)
    weights = len(header).to_bytes(8, "little") + header + SOUND_BYTE * min(data_bytes, MAX_DATA_BYTES)
    return {CONFIG: config, INDEX: index, SHARD: weights} if index else {CONFIG: config, WEIGHTS: weights}


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


def seeds() -> list[bytes]:
    """Checkpoints that load: one for every kind of config, and one with an index."""
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {r"+:.*\.0\.": {"bits": 4}, "-:a": {}}}
    awq = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "modules_to_not_convert": ["a"]}
    mixed = {**QUANTIZATION, "extra_config": {LAYER: {"bits": 4}, ".*(q|k)_proj": {"bits": 16}}, "act_bits": 16}
    header, awq_header = _header(both()), _header(entry(shape=[IN_FEATURES, OUT_FEATURES // 8]))
    index = json.dumps({"weight_map": dict.fromkeys(json.loads(header), SHARD)}).encode()
    texts = ((QUANTIZATION, header), (QUANTIZATION, header, index), (gptq, header), (awq, awq_header), (mixed, header))
    return [
        SEPARATOR.join((json.dumps({"quantization_config": config}).encode(), *others)) for config, *others in texts
    ]


def _header(edit: Edit) -> bytes:
    files = sound_files()
    both(part("g_idx", None), edit)(files)
    return header_of(files[WEIGHTS])


def main() -> None:
    """Run libFuzzer over a corpus that begins with the seeds."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], corpus], open_input, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
