"""The model's small files: fetched from a hub as users name it, and put where TGI's router reads what 5 wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import CHAT_TEMPLATE, make_tokenizer
from tests.quantize.fake_hub import COMMIT, GATED, PRESENT, TOKEN, FakeHub, fake_hub
from tests.tgi.launching import AUTO_ROUND, Machine
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.tgi.launcher.router import check_same_tokens


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def model(machine: Machine) -> Path:
    """Written by transformers 5, as the tokenizer shows."""
    path = machine.model("model", AUTO_ROUND)
    make_tokenizer(path)
    return path


@pytest.fixture
def hub(model: Path) -> Iterator[FakeHub]:
    with fake_hub(model) as running:
        yield running


def online(hub: FakeHub) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}


# The router


def test_the_router_gets_the_template_and_the_tokenizer(machine: Machine, model: Path) -> None:
    run = machine.run("--model-id", model)
    assert run.environment is not None, run.stderr
    repaired = json.loads(Path(run.environment["TOKENIZER_CONFIG_PATH"]).read_text())
    assert (repaired["chat_template"], repaired["bos_token"], repaired["eos_token"]) == (CHAT_TEMPLATE, "<s>", "</s>")
    assert (machine.folder / "out/tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


def test_a_template_of_the_users_own_wins(machine: Machine, model: Path) -> None:
    given = ("--model-id", model, "--tokenizer-config-path", "own.json")
    assert "TOKENIZER_CONFIG_PATH" not in (machine.run(*given).environment or {})
    run = machine.run("--model-id", model, TOKENIZER_CONFIG_PATH="own.json")
    assert (run.environment or {})["TOKENIZER_CONFIG_PATH"] == "own.json"


def test_a_tokenizer_of_transformers_4_is_left_to_the_router(machine: Machine, model: Path) -> None:
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "chat_template": "own"}')
    run = machine.run("--model-id", model)
    assert "TOKENIZER_CONFIG_PATH" not in (run.environment or {})
    assert not (machine.folder / "out").exists()


def test_a_repaired_config_alone_leaves_the_tokenizer_to_the_router(machine: Machine, model: Path) -> None:
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "chat_template": "own"}')
    config = json.loads((model / "config.json").read_text()) | {
        "rope_theta": None,
        "rope_parameters": {"rope_theta": 5e5},
    }
    (model / "config.json").write_text(json.dumps(config))
    run = machine.run("--model-id", model)
    assert run.environment is not None, run.stderr
    assert "TOKENIZER_CONFIG_PATH" not in run.environment


def test_a_folder_that_the_tokenizer_cannot_be_put_into_is_named(machine: Machine, model: Path) -> None:
    (machine.folder / "out").write_text("a file")
    run = machine.run("--model-id", model)
    assert (run.exit_code, run.arguments) == (1, None)
    assert f"{machine.folder}/out/tokenizer.json, where TGI's router reads the tokenizer from" in run.stderr


# The hub


def test_a_hub_model_is_recognized_and_only_its_small_files_are_fetched(
    machine: Machine, model: Path, hub: FakeHub
) -> None:
    (model / "model.safetensors").write_bytes(b"weights")
    arguments = ["--model-id", PRESENT]
    run = machine.run(*arguments, **online(hub))
    assert run.arguments == arguments, run.stderr
    assert (run.environment or {})["ATTENTION"] == "flashinfer"
    snapshot = machine.folder / ".cache/huggingface/hub/models--someone--present/snapshots" / COMMIT
    assert {path.name for path in snapshot.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


def test_revision_and_cache_are_the_users(machine: Machine, hub: FakeHub) -> None:
    cache = machine.folder / "cache"
    given = ("--model-id", PRESENT, "--revision", "v2", "--huggingface-hub-cache", cache, "--quantize", "auto-round")
    run = machine.run(*given, **online(hub))
    assert run.arguments == [str(argument) for argument in given[:-2]], run.stderr
    assert (cache / "models--someone--present/refs/v2").read_text() == COMMIT
    assert not (machine.folder / ".cache/huggingface/hub/models--someone--present").exists()


def test_a_cached_model_is_read_without_the_hub(machine: Machine, hub: FakeHub) -> None:
    given = ("--model-id", PRESENT, "--quantize", "auto-round")
    machine.run(*given, **online(hub), HUGGINGFACE_HUB_CACHE=str(machine.folder / "cache"))
    run = machine.run(*given, HUGGINGFACE_HUB_CACHE=str(machine.folder / "cache"))
    assert (run.environment or {})["TGI_AUTOROUND"] == "1", run.stderr


def test_the_token_is_given_to_the_hub(machine: Machine, hub: FakeHub) -> None:
    """The hub answers 401 to those it does not know and 403 to those it knows."""
    given = ("--model-id", GATED, "--quantize", "auto-round")
    assert "403" in machine.run(*given, **online(hub)).stderr
    assert "401" in machine.run(*given, **(online(hub) | {"HF_TOKEN": ""})).stderr
    assert "403" in machine.run(*given, **(online(hub) | {"HF_TOKEN": "", "HF_API_TOKEN": TOKEN})).stderr


def test_a_router_that_would_read_other_tokens_than_the_shards_is_refused(tmp_path: Path) -> None:
    def with_bos(text: str) -> list[int]:
        return [1, *map(ord, text)]

    def without(text: str) -> list[int]:
        return list(map(ord, text))

    check_same_tokens(without, without, tmp_path)
    check_same_tokens(None, without, tmp_path)
    with pytest.raises(UnsupportedError, match=r"would encode '' as \[1\].*gives \[\]; state add_bos_token"):
        check_same_tokens(with_bos, without, tmp_path)
