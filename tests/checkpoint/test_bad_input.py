"""Malformed checkpoints: each is refused with an error of its own kind and a sentence that names place and value."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.checkpoint.drafts import (
    CONFIG,
    INDEX,
    LAYER,
    WEIGHTS,
    Edit,
    both,
    changed,
    entry,
    header,
    only_quantization,
    part,
    quantization,
    raw,
    read_everything,
    sharded,
    sound_files,
    with_header,
    without_file,
    write_files,
)
from tgi_autoround.errors import CheckpointError, UnsupportedError

QWEIGHT = f"{LAYER}.qweight"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}
LONGEST_MESSAGE = 1500


def case(requirement: str, edit: Edit, error: type[Exception], words: str) -> object:
    return pytest.param(edit, error, words, id=requirement)


def broken(requirement: str, edit: Edit, words: str) -> object:
    return case(requirement, edit, CheckpointError, words)


def unsupported(requirement: str, edit: Edit, words: str) -> object:
    return case(requirement, edit, UnsupportedError, words)


JSON_FILES = [
    broken("config is there", without_file(CONFIG), "config.json is missing"),
    broken("config is JSON", raw(CONFIG, b"{"), "config.json is not valid JSON"),
    broken("config is UTF-8", raw(CONFIG, b'{"a": "\xff"}'), "not valid JSON: 'utf-8' codec"),
    broken("config is not empty", raw(CONFIG, b""), "not valid JSON"),
    broken("config is an object", raw(CONFIG, b"[1]"), "holds \\[1\\]; it must hold a JSON object"),
    broken("config is small", raw(CONFIG, b" " * (2**26 + 1)), "larger than 67108864 bytes"),
    broken("config is not deep", raw(CONFIG, b'{"a":' * 50 + b"1" + b"}" * 50), "more than 32 levels deep"),
    broken("config of 100000 levels", raw(CONFIG, b'{"a":' + b"[" * 100_000), "more than 32 levels deep"),
    broken("keys stand once", raw(CONFIG, b'{"a": {"bits": 4, "bits": 8}}'), "key 'bits' stands twice"),
    broken("integers are bounded", raw(CONFIG, b'{"a": 1' + b"0" * 10_000 + b"}"), "an integer has 10001 digits"),
    broken("NaN is no JSON", raw(CONFIG, b'{"a": NaN}'), "NaN is not a number"),
]

CONFIGS = [
    broken("quantization_config is an object", only_quantization([]), "quantization_config is \\[\\]"),
    unsupported("method is known", quantization(quant_method="bitsandbytes"), "quant_method is 'bitsandbytes'"),
    unsupported("method is a string", quantization(quant_method=["awq"]), "quant_method is \\['awq'\\]"),
    unsupported(
        "packing is known", quantization(packing_format="auto_round:marlin9"), "packing_format is 'auto_round:m"
    ),
    unsupported("packing is a string", quantization(packing_format={"a": 1}), "packing_format is {'a': 1}"),
    unsupported("packing of MX", quantization(packing_format="auto_round:llm_compressor"), "llm_compressor"),
    unsupported("8-bit activations", quantization(act_bits=8), "act_bits is 8; only weight-only"),
    unsupported("activation bits as text", quantization(act_bits="16"), "act_bits is '16'"),
    unsupported("8-bit activations of a layer", quantization(extra_config={LAYER: {"act_bits": 8}}), "act_bits is 8"),
    unsupported("fp weights", quantization(data_type="fp"), "data_type is 'fp'; only 'int'"),
    unsupported("mx weights", quantization(data_type="mx_fp"), "data_type is 'mx_fp'"),
    unsupported("nv weights", quantization(data_type="nv_fp4_with_static_gs"), "data_type is 'nv_fp4"),
    unsupported("mx weights of a layer", quantization(extra_config={LAYER: {"data_type": "mx_int"}}), "'mx_int'"),
    unsupported("bits are known", quantization(bits=1), "bits is 1"),
    unsupported("bits are no text", quantization(bits="4"), "bits is '4'"),
    unsupported("bits are no truth value", quantization(bits=True), "bits is True"),
    unsupported("bits are no fraction", quantization(bits=4.0), "bits is 4.0"),
    broken("groups hold something", quantization(group_size=0), "group_size is 0"),
    broken("groups are not negative", quantization(group_size=-128), "group_size is -128"),
    broken("group size is an int", quantization(group_size="128"), "group_size is '128'"),
    broken("group size is bounded", quantization(group_size=10**90), "group_size is 1000"),
    broken("blocks have no size of their own", quantization(group_size=[128, 128]), "group_size is \\[128, 128\\]"),
    broken("sym is a truth value", quantization(sym="yes"), "sym is 'yes'"),
    broken("extra_config is an object", quantization(extra_config=[LAYER]), "extra_config is \\["),
    broken("an override is an object", quantization(extra_config={LAYER: 8}), "up_proj'\\] is 8; it must be an object"),
    broken("an override's expression", quantization(extra_config={"a(": {}}), "nor a regular expression"),
    unsupported("an expression that backtracks", quantization(extra_config={"(a+)+$": {}}), "inside another"),
    unsupported("an endless expression", quantization(extra_config={".*" * 501: {}}), "1002 characters"),
    broken("block names are names", quantization(block_name_to_quantize=7), "block_name_to_quantize is 7"),
    broken("block names are no deep list", quantization(block_name_to_quantize=[[["a"]]]), "block_name_to_quantize is"),
    broken("block names are no object", quantization(block_name_to_quantize={"a": 1}), "block_name_to_quantize is"),
    broken(
        "a layer that the config keeps in floating point",
        quantization(extra_config={LAYER: {"bits": 16}}),
        "up_proj: the file holds packed integers, but the config says floating point",
    ),
    broken("a packed file without quantization", raw(CONFIG, b"{}"), "config says floating point"),
    unsupported("words are int32", only_quantization({**GPTQ, "pack_dtype": "int8"}), "pack_dtype is 'int8'"),
    unsupported("GPTQ's format is known", only_quantization({**GPTQ, "format": "bitblas"}), "_format is 'bitblas'"),
    broken("GPTQ's lm_head is a truth value", only_quantization({**GPTQ, "lm_head": "no"}), "lm_head is 'no'; it must"),
    unsupported("an override's lookbehind", only_quantization({**GPTQ, "dynamic": {"(?<=a)b": {}}}), "uses lookbehind"),
    broken("a long value is cut", quantization(quant_method="awq", zero_point="x" * 10**6), "zero_point is 'xxx"),
]

HEADERS = [
    broken("file is not empty", raw(WEIGHTS, b""), "a header of 0 bytes does not fit a safetensors file of 0"),
    broken("length is whole", raw(WEIGHTS, b"\x10\0\0"), "does not fit a safetensors file of 3 bytes"),
    broken("header fits the file", raw(WEIGHTS, b"\xff\xff\0\0\0\0\0\0{}"), "a header of 65535 bytes does not fit"),
    broken("header fits memory", raw(WEIGHTS, b"\xff" * 8 + b"{}"), "a header of 18446744073709551615 bytes"),
    broken("header is whole", changed(WEIGHTS, lambda content: content[:100]), "truncated"),
    broken("data is whole", changed(WEIGHTS, lambda content: content[:-1]), "truncated"),
    broken("nothing follows the data", changed(WEIGHTS, lambda content: content + b"x"), "foreign data appended"),
    broken("header is JSON", with_header(b"PK\3\4 no JSON"), "the header is not valid JSON"),
    broken("header is an object", with_header(b"[]"), "the header holds \\[\\]"),
    broken("header is not deep", with_header(b'{"a":' + b"[" * 99_999), "levels deep"),
    broken(
        "names stand once",
        with_header(b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 1}'),
        "key 'a' stands twice",
    ),
    broken("metadata is an object", header(lambda h: h.update(__metadata__=[])), "__metadata__ is \\[\\]"),
    broken("metadata holds strings", header(lambda h: h.update(__metadata__={"a": 1})), "strings to strings"),
    broken("a tensor is an object", header(lambda h: h.update({QWEIGHT: 4})), "qweight' is 4; it must have dtype"),
    broken(
        "a tensor has a shape", header(lambda h: h[QWEIGHT].pop("shape")), "must have dtype, shape and data_offsets"
    ),
    broken("a tensor has a name", header(lambda h: h.update({"": h.pop(QWEIGHT)})), "1 to 512 printable"),
    broken("a name is printable", header(lambda h: h.update({"a\nb": h.pop(QWEIGHT)})), "'a\\\\nb': a name is"),
    broken("a name is short", header(lambda h: h.update({"a" * 513: h.pop(QWEIGHT)})), "1 to 512 printable"),
    unsupported("dtype is known", entry(dtype="I9"), "qweight' has dtype 'I9'"),
    unsupported("dtype is a string", entry(dtype=["I32"]), "has dtype \\['I32'\\]"),
    broken("shape is a list", entry(shape="8x32"), "has shape '8x32'"),
    broken("sizes are not negative", entry(shape=[-8, -32]), "has shape \\[-8, -32\\]"),
    broken("sizes are integers", entry(shape=[8.0, 32]), "has shape \\[8.0, 32\\]"),
    broken("sizes are no truth values", entry(shape=[True, 32]), "has shape \\[True, 32\\]"),
    broken("dimensions are few", entry(shape=[1] * 9), "at most 8 integers"),
    broken("sizes do not overflow", entry(shape=[2**62, 2**62]), "more than any file can hold"),
    broken("empty sizes do not overflow", entry(shape=[2**62, 2**62, 0]), "more than any file can hold"),
    broken("shape fits its bytes", entry(shape=[8, 33]), "takes 1056 bytes, but its data_offsets \\[256, 1280\\] span"),
    broken("dtype fits its bytes", entry(dtype="I64"), "takes 2048 bytes"),
    broken("offsets are two", entry(data_offsets=[0]), "data_offsets \\[0\\]; they must be two"),
    broken("offsets are not negative", entry(data_offsets=[-1024, 0]), "none negative"),
    broken("offsets are in order", entry(data_offsets=[1024, 0]), "span -1024"),
    broken("offsets are in the file", entry(data_offsets=[2**60, 2**60 + 1024]), "overlap nor leave gaps"),
    broken("tensors do not overlap", entry(data_offsets=[4, 1028]), "neither overlap nor leave gaps"),
    broken("tensors leave no gap", header(lambda h: h.pop(QWEIGHT)), "neither overlap nor leave gaps"),
]

LAYERS = [
    broken("qweight is there", part("qweight", None), "up_proj: there is .*, but no qweight"),
    broken("qzeros are there", part("qzeros", None), "up_proj.qzeros' is missing"),
    broken("scales are there", part("scales", None), "up_proj.scales' is missing"),
    broken("no weight beside qweight", part("weight", torch.zeros(32, 64)), "the file holds weight, so that it is unc"),
    broken("no foreign parts", part("weight_scale", torch.zeros(1)), "the file holds weight_scale"),
    broken("qweight is int32", part("qweight", torch.zeros(8, 32)), "qweight is of type F32; expected I32"),
    broken("qzeros are int32", part("qzeros", torch.zeros(2, 4, dtype=torch.int64)), "qzeros is of type I64"),
    broken("scales are float16", part("scales", torch.zeros(2, 32)), "scales is of type F32; expected F16"),
    broken("bias is floating point", part("bias", torch.zeros(32, dtype=torch.int8)), "bias is of type I8"),
    broken("g_idx is int32", part("g_idx", torch.arange(64) // 32), "g_idx is of type I64; expected I32"),
    broken(
        "qweight has two sides", part("qweight", torch.zeros(256, dtype=torch.int32)), "qweight has shape \\(256,\\)"
    ),
    broken("a layer has inputs", part("qweight", torch.zeros(0, 32, dtype=torch.int32)), "\\(0, 32\\); expected two"),
    broken("a layer has outputs", part("qweight", torch.zeros(8, 0, dtype=torch.int32)), "\\(8, 0\\); expected two"),
    broken(
        "outputs fill words", part("qweight", torch.zeros(8, 31, dtype=torch.int32)), "do not fill the 32-bit words"
    ),
    broken("inputs fill words", quantization(bits=3), "3-bit codes do not fill the 32-bit words"),
    broken(
        "qzeros fit", part("qzeros", torch.zeros(2, 5, dtype=torch.int32)), "qzeros has shape \\(2, 5\\), but the con"
    ),
    broken(
        "scales fit", part("scales", torch.zeros(3, 32).half()), "scales has shape \\(3, 32\\), but the config asks"
    ),
    broken(
        "bias fits", part("bias", torch.zeros(64).half()), "bias has shape \\(64,\\), but the config asks for \\(32,\\)"
    ),
    broken("bias has one side", part("bias", torch.zeros(1, 32).half()), "bias has shape \\(1, 32\\)"),
    broken("g_idx fits", part("g_idx", torch.zeros(32, dtype=torch.int32)), "g_idx has shape \\(32,\\)"),
    broken(
        "g_idx fills groups", part("g_idx", torch.zeros(64, dtype=torch.int32)), "does not put 32 input features into"
    ),
    broken("g_idx stays in range", part("g_idx", torch.full((64,), 2**31 - 1).int()), "does not put 32 input features"),
    broken("g_idx is not negative", part("g_idx", torch.full((64,), -1).int()), "does not put 32 input features"),
    broken("config says 8, file holds 4", quantization(bits=8), "W8 .* do not fit the file"),
    broken(
        "config says 4, file holds 8", part("qweight", torch.zeros(16, 32, dtype=torch.int32)), "do not fit the file"
    ),
    broken("config says 2, file holds 4", quantization(bits=2), "W2 .* do not fit the file"),
    broken("another group size", quantization(group_size=16), "g16 .* do not fit the file"),
    broken("another packing", quantization(packing_format="auto_round:auto_awq"), "awq .* do not fit the file"),
    broken("raw zero points", quantization(packing_format="auto_round"), "zero points are all 8, but the file holds 7"),
    broken("scales are numbers", part("scales", torch.full((2, 32), torch.nan).half()), "up_proj.*NaN or infinity"),
    broken("scales are finite", part("scales", torch.full((2, 32), torch.inf).half()), "NaN or infinity"),
    broken("bias is finite", part("bias", torch.full((32,), torch.nan)), "up_proj.*bias holds NaN or infinity"),
    broken("sym has one zero point", part("qzeros", torch.zeros(2, 4, dtype=torch.int32)), "zero points are all 8"),
    broken("something is packed", with_header(b"{}"), "names a quantization, but no tensor is packed"),
]

FILES = [
    broken("tensors are there", without_file(WEIGHTS), "neither model.safetensors nor .* is there"),
    unsupported("tensors are not pickled", without_file(WEIGHTS, beside="pytorch_model.bin"), "as pickle .*save_pretr"),
    unsupported("nor pickled in parts", without_file(WEIGHTS, beside="pytorch_model-00001-of-00002.bin"), "as pickle"),
    broken("index maps tensors", raw(INDEX, b'{"metadata": {}}'), "weight_map is None"),
    broken("index maps by name", raw(INDEX, b'{"weight_map": ["a"]}'), "weight_map is \\['a'\\]"),
    broken("index is not empty", raw(INDEX, b'{"weight_map": {}}'), "weight_map is {}"),
    broken("index keys stand once", raw(INDEX, b'{"weight_map": {"a": "b", "a": "c"}}'), "key 'a' stands twice"),
    broken("shards have names", sharded(lambda m: m.update({QWEIGHT: 3})), "names the shard 3"),
    broken("shards are there", sharded(lambda m: m.update({QWEIGHT: "c.safetensors"})), "c.safetensors is missing"),
    broken(
        "shards are not above", sharded(lambda m: m.update({QWEIGHT: "../a.safetensors"})), "in the model's directory"
    ),
    broken(
        "shards are not below", sharded(lambda m: m.update({QWEIGHT: "x/a.safetensors"})), "in the model's directory"
    ),
    broken("shards are not anywhere", sharded(lambda m: m.update({QWEIGHT: "/etc/passwd"})), "shard '/etc/passwd'"),
    broken(
        "shards are not above in Windows", sharded(lambda m: m.update({QWEIGHT: "..\\a.safetensors"})), "plain names"
    ),
    broken("shards' names hold no zero", sharded(lambda m: m.update({QWEIGHT: "a\0.safetensors"})), "plain names"),
    broken("shards' names are text", sharded(lambda m: m.update({QWEIGHT: "\ud800.safetensors"})), "plain names"),
    broken("shards are safetensors", sharded(lambda m: m.update({QWEIGHT: CONFIG})), "end in .safetensors"),
    broken("index names tensors of the file", sharded(lambda m: m.update({"x": "a.safetensors"})), "does not hold it"),
    broken("index names all tensors", sharded(lambda m: m.pop(QWEIGHT)), "holds tensor .*qweight', which .* in None"),
    broken(
        "index names the right shard", sharded(lambda m: m.update(dict.fromkeys(m, "a.safetensors"))), "not hold it"
    ),
    broken("index and single file agree", both(sharded(), raw(WEIGHTS, b"")), "remove the one that is stale"),
]

CASES = [*JSON_FILES, *CONFIGS, *HEADERS, *LAYERS, *FILES]


@pytest.mark.parametrize(("edit", "error", "words"), CASES)
def test_a_malformed_checkpoint_is_refused_in_a_sentence(
    tmp_path: Path, edit: Edit, error: type[Exception], words: str
) -> None:
    files = sound_files()
    edit(files)
    with pytest.raises(error, match=words) as refusal:
        read_everything(write_files(files, tmp_path / "model"))
    assert refusal.type is error
    assert len(str(refusal.value)) - len(str(tmp_path)) < LONGEST_MESSAGE


@pytest.mark.parametrize("edit", [both(), sharded()], ids=["single file", "shards"])
def test_the_checkpoint_that_they_are_made_from_loads(tmp_path: Path, edit: Edit) -> None:
    files = sound_files()
    edit(files)
    read_everything(write_files(files, tmp_path))


def test_infinity_in_a_config_loads_as_transformers_writes_it(tmp_path: Path) -> None:
    files = sound_files()
    changed(CONFIG, lambda content: content.replace(b"{", b'{"time_step_limit": [0.0, Infinity], ', 1))(files)
    read_everything(write_files(files, tmp_path))


GREEDY = {
    "header-length": raw(WEIGHTS, (99_999_999).to_bytes(8, "little") + b"{}"),
    "shape": header(lambda content: content[QWEIGHT].update(shape=[2**30, 2**10], data_offsets=[0, 2**42])),
    "empty-shape": entry(shape=[2**40, 0], data_offsets=[0, 0]),
    "group-size": quantization(group_size=2**31 - 1),
    "group-size-1": quantization(group_size=1),
    "expression": quantization(extra_config={"(a{9999}){9999}": {}}),
    "integer": raw(CONFIG, b'{"a": 1' + b"0" * 10**6 + b"}"),
    "depth": raw(CONFIG, b"[" * 10**6),
}
REFUSE_IN_LITTLE_MEMORY = """
import json, resource, sys
from pathlib import Path
from tests.checkpoint.drafts import read_everything
from tgi_autoround.errors import TgiAutoRoundError

allowed_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (allowed_bytes, allowed_bytes))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
for model_dir in sys.argv[1:]:
    try:
        read_everything(Path(model_dir))
    except TgiAutoRoundError as error:
        print(json.dumps([Path(model_dir).name, str(error)]))
"""


def test_refusals_take_no_memory_or_time_by_the_numbers_of_a_file(tmp_path: Path) -> None:
    directories = []
    for name, edit in GREEDY.items():
        files = sound_files()
        edit(files)
        directories.append(str(write_files(files, tmp_path / name)))
    command = [sys.executable, "-c", REFUSE_IN_LITTLE_MEMORY, *directories]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert [json.loads(line)[0] for line in output.splitlines()] == list(GREEDY)
