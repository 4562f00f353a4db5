"""What transformers 5 writes and transformers 4.51 (TGI's) reads wrong or not at all is repaired, beside the files.

The expected values are written by hand, in the terms of the files that models' authors published for transformers 4.
"""

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Gemma3Config,
    Gemma3TextConfig,
    LlamaTokenizer,
    Phi3Config,
    Qwen2VLConfig,
    Qwen3MoeConfig,
)

from tests.models import CHAT_TEMPLATE, make_llama, make_tokenizer
from tgi_autoround.checkpoint.compat import readable_by_transformers_4
from tgi_autoround.checkpoint.compat_config import older_config
from tgi_autoround.checkpoint.compat_tokenizer import older_tokenizer_config
from tgi_autoround.errors import CheckpointError, UnsupportedError

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
SHARDS = 4
TEXT = "naïve café, 漢字 and 🙂"


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def written_by_5(tmp_path: Path) -> Path:
    return make_llama(
        tmp_path / "model", hidden=64, intermediate=128, layers=1, rope_parameters={"rope_theta": 500_000.0, **LLAMA3}
    )


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def config_of_5(config: Any, directory: Path) -> dict[str, Any]:
    """What transformers 5 itself writes."""
    config.save_pretrained(directory)
    return read(directory / "config.json")


# The configuration of a model


def test_scaled_rope_gets_the_names_of_llama_3_1(written_by_5: Path) -> None:
    repaired = read(readable_by_transformers_4(written_by_5) / "config.json")
    assert repaired["rope_theta"] == 500_000.0
    assert repaired["rope_scaling"] == LLAMA3
    assert repaired["torch_dtype"] == "float16"


def test_plain_rope_gets_its_theta_and_no_scaling() -> None:
    repaired = older_config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})
    assert repaired["rope_theta"] == 1e6
    assert "rope_scaling" not in repaired


def test_partial_rotary_is_named_at_the_top() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    assert older_config({"rope_parameters": rope})["partial_rotary_factor"] == 0.5


def test_gpt_neox_gets_names_of_its_own() -> None:
    rope = {"rope_type": "default", "rope_theta": 50_000, "partial_rotary_factor": 0.25}
    repaired = older_config({"model_type": "gpt_neox", "rope_parameters": rope})
    assert (repaired["rotary_emb_base"], repaired["rotary_pct"]) == (50_000, 0.25)


def test_gemma_3_gets_both_thetas_in_its_text_config(tmp_path: Path) -> None:
    full = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    ropes = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}
    written = config_of_5(Gemma3Config(text_config={"rope_parameters": ropes}), tmp_path)
    text = older_config(written)["text_config"]
    assert (text["rope_theta"], text["rope_local_base_freq"]) == (1e6, 2e4)
    assert text["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_qwen_2_vl_gets_its_text_fields_at_the_top(tmp_path: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    written = config_of_5(Qwen2VLConfig(text_config={"hidden_size": 1536, "rope_parameters": rope}), tmp_path)
    repaired = older_config(written)
    assert (repaired["model_type"], repaired["hidden_size"], repaired["rope_theta"]) == ("qwen2_vl", 1536, 1e6)
    assert repaired["rope_scaling"] == {"type": "mrope", "mrope_section": [16, 24, 24]}
    assert "text_config" not in repaired
    assert "rope_scaling" not in repaired["vision_config"]


def test_phi_3_gets_the_three_fields_that_it_insists_on(tmp_path: Path) -> None:
    factors = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 4096, **factors}
    written = config_of_5(Phi3Config(rope_parameters=rope, max_position_embeddings=131_072), tmp_path)
    repaired = older_config(written)
    assert repaired["rope_scaling"] == {"type": "longrope", **factors}
    assert repaired["original_max_position_embeddings"] == 4096


def test_fields_that_transformers_5_renamed_get_the_names_that_4_51_reads(tmp_path: Path) -> None:
    Qwen3MoeConfig(num_experts=4).save_pretrained(tmp_path)
    assert older_config(read(tmp_path / "config.json"))["num_experts"] == 4
    Gemma3TextConfig(sliding_window_pattern=3, num_hidden_layers=6).save_pretrained(tmp_path)
    assert older_config(read(tmp_path / "config.json"))["sliding_window_pattern"] == 3


def test_a_config_of_transformers_4_stays_as_it_was() -> None:
    config = {"torch_dtype": "float16", "rope_theta": 1e6, "rope_scaling": None, "model_type": "llama"}
    assert older_config(config) == config


def test_what_was_repaired_stays_as_it_is(written_by_5: Path) -> None:
    repaired = older_config(read(written_by_5 / "config.json"))
    assert older_config(repaired) == repaired


def test_a_rope_for_each_kind_of_layer_is_refused_where_4_51_has_one() -> None:
    ropes = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    with pytest.raises(UnsupportedError, match=r"full_attention, sliding_attention .*'olmo3'.*tgi-autoround serve"):
        older_config({"model_type": "olmo3", "rope_parameters": ropes})


def test_a_scaled_local_rope_is_refused() -> None:
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    ropes = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": scaled}
    with pytest.raises(UnsupportedError, match="unscaled one for its sliding_attention"):
        older_config({"model_type": "gemma3_text", "rope_parameters": ropes})


def test_an_unknown_rope_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"rope_type is 'proportional'; transformers 4\.51"):
        older_config({"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4}})


def test_names_that_disagree_are_refused() -> None:
    config = {"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    with pytest.raises(CheckpointError, match=r"rope_theta is 10000\.0, but rope_parameters says 1000000\.0"):
        older_config(config)


# The tokenizer


def test_the_tokenizer_gets_a_class_that_4_51_has_and_its_template_inside(written_by_5: Path) -> None:
    repaired = read(readable_by_transformers_4(written_by_5) / "tokenizer_config.json")
    assert repaired["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "backend" not in repaired
    assert repaired["chat_template"] == CHAT_TEMPLATE


def test_a_class_with_defaults_of_its_own_in_4_51_gives_way_to_tokenizer_json(tmp_path: Path) -> None:
    """4.51's LlamaTokenizer adds a BOS token that this one, as transformers 5 writes it, does not add."""
    tokenizer = LlamaTokenizer(vocab={"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3}, merges=[], add_bos_token=False)
    tokenizer.save_pretrained(tmp_path)
    written = read(tmp_path / "tokenizer_config.json")
    assert written["tokenizer_class"] == "LlamaTokenizer"
    assert "add_bos_token" not in written
    assert older_tokenizer_config(written, None)["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_class_of_transformers_4_is_kept() -> None:
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}
    assert older_tokenizer_config(config, None) == config


def test_lists_of_special_tokens_get_their_older_name() -> None:
    repaired = older_tokenizer_config({"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": ["<a>"]}, None)
    assert repaired == {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<a>"]}


def test_named_special_tokens_get_their_older_name() -> None:
    named = {"image_token": "<img>"}
    repaired = older_tokenizer_config({"extra_special_tokens": ["<a>"], "model_specific_special_tokens": named}, None)
    assert repaired == {"extra_special_tokens": named, "additional_special_tokens": ["<a>"]}


def test_a_template_in_the_tokenizer_config_wins() -> None:
    assert older_tokenizer_config({"chat_template": "own"}, "file")["chat_template"] == "own"


def test_several_templates_become_the_list_that_4_51_reads(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.chat_template = {"default": "plain", "tool_use": "tools"}
    tokenizer.save_pretrained(tmp_path)
    repaired = read(readable_by_transformers_4(tmp_path) / "tokenizer_config.json")
    assert repaired["chat_template"] == [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"},
    ]


# The view


def test_what_needs_no_repair_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "rope_theta": 1e6}')
    assert readable_by_transformers_4(tmp_path) == tmp_path
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_view_holds_every_file_and_the_model_stays_untouched(written_by_5: Path) -> None:
    (written_by_5 / "folder").mkdir()
    (written_by_5 / "folder" / "code.py").write_text("pass")
    before = files_of(written_by_5)
    view = readable_by_transformers_4(written_by_5)
    assert {path.name for path in view.iterdir() if not path.is_symlink()} == {"config.json", "tokenizer_config.json"}
    assert {path.name for path in view.iterdir()} == {path.name for path in written_by_5.iterdir()}
    assert (view / "model.safetensors").resolve() == written_by_5 / "model.safetensors"
    assert (view / "folder" / "code.py").read_text() == "pass"
    assert files_of(written_by_5) == before


def test_transformers_5_reads_the_view_as_it_read_the_model(written_by_5: Path) -> None:
    view = readable_by_transformers_4(written_by_5)
    assert AutoConfig.from_pretrained(view).rope_parameters == {"rope_theta": 500_000.0, **LLAMA3}
    assert AutoTokenizer.from_pretrained(view)(TEXT) == AutoTokenizer.from_pretrained(written_by_5)(TEXT)


def test_a_snapshot_of_the_hubs_cache_has_a_view(written_by_5: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(written_by_5.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    view = readable_by_transformers_4(snapshot)
    assert read(view / "config.json")["rope_theta"] == 500_000.0
    assert (view / "model.safetensors").resolve().parent == blobs


def test_shards_that_start_together_get_the_same_view(written_by_5: Path) -> None:
    for number in range(500):  # making the view takes long enough for the shards to get in each other's way
        (written_by_5 / f"{number}.txt").touch()
    context = multiprocessing.get_context("fork")
    together = context.Barrier(SHARDS)
    with context.Pool(SHARDS, initializer=together.wait) as pool:
        views = pool.map(readable_by_transformers_4, [written_by_5] * SHARDS, chunksize=1)
    assert set(views) == {readable_by_transformers_4(written_by_5)}
    assert [path.name for path in views[0].parent.iterdir()] == [views[0].name]


def test_a_view_that_has_lost_files_is_made_again(written_by_5: Path) -> None:
    view = readable_by_transformers_4(written_by_5)
    (view / "model.safetensors").unlink()
    assert readable_by_transformers_4(written_by_5) == view
    assert (view / "model.safetensors").exists()


def test_a_changed_model_gets_a_new_view(written_by_5: Path) -> None:
    view = readable_by_transformers_4(written_by_5)
    config = read(written_by_5 / "config.json")
    config["rope_parameters"]["rope_theta"] = 1e6
    (written_by_5 / "config.json").write_text(json.dumps(config))
    assert readable_by_transformers_4(written_by_5) != view
    assert read(readable_by_transformers_4(written_by_5) / "config.json")["rope_theta"] == 1e6


def test_views_stay_out_of_a_directory_that_others_made(written_by_5: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "temporary" / f"tgi-autoround-view-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="belongs to another user"):
        readable_by_transformers_4(written_by_5)


def test_without_room_for_the_copies_the_error_names_the_remedy(
    written_by_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(CheckpointError, match=r"written by transformers 5.*set TMPDIR"):
        readable_by_transformers_4(written_by_5)
