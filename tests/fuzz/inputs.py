"""What the fuzzer mutates: config.json, the safetensors header and the index of a checkpoint, joined by SEPARATOR."""

import json
import re

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
    sound_files,
)

SEPARATOR = b"\n\xff\n"
SHARD = "a.safetensors"
SOUND_BYTE = b"\x77"  # GPTQ's zero points of symmetric 4-bit layers, and finite as float16
MAX_DATA_BYTES = 2**16
_OFFSETS = re.compile(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d{1,5})\s*\]')


def files_of(data: bytes) -> Files:
    """Return the checkpoint that an input describes, with as many bytes of tensors as its header asks for."""
    config, header, index = (*data.split(SEPARATOR), b"", b"")[:3]
    data_bytes = max((int(end) for end in _OFFSETS.findall(header)), default=0)
    weights = len(header).to_bytes(8, "little") + header + SOUND_BYTE * min(data_bytes, MAX_DATA_BYTES)
    return {CONFIG: config, INDEX: index, SHARD: weights} if index else {CONFIG: config, WEIGHTS: weights}


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
