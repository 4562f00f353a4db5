"""What TGI's launcher is started with in the image for Gaudi, by the script that stands before it in PATH there."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tgi.launching import AUTO_ROUND, Machine
from tgi_autoround.tgi.launcher.gaudi import visible_cards

SCRIPT = Path(__file__).parents[2] / "docker/launcher_gaudi.py"
IMAGE = {"ATTENTION": "paged", "PREFIX_CACHING": "0", "HABANA_VISIBLE_DEVICES": "all", "PT_HPU_LAZY_MODE": "1"}
"""Set by TGI's image (Dockerfile_gaudi, v3.3.7)."""

DERIVED = {"MAX_BATCH_PREFILL_TOKENS": "4096"}
"""launcher/src/main.rs, v3.3.7, 2126."""
ONE_CARD = DERIVED | {"MAX_BATCH_SIZE": "32"}
SHARDED = ONE_CARD | {"PT_HPU_ENABLE_LAZY_COLLECTIVES": "true"}


@dataclass(frozen=True)
class Case:
    """`{own}` and `{float}` stand for the directories of an AutoRound model and of another."""

    arguments: str
    environment: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)


def on_cards(modules: str, added: dict[str, str], arguments: str = "", **environment: str) -> Case:
    return Case(f"--model-id {{own}} {arguments}", {"HABANA_VISIBLE_DEVICES": modules, **environment}, added)


CASES = {
    "one card": Case("--model-id {own}", {}, ONE_CARD),
    "one shard": Case("--model-id {own} --num-shard 1", {}, ONE_CARD),
    "not sharded": Case("--model-id {own} --sharded false", {}, ONE_CARD),
    # Every spelling of sharding.
    "both options": Case("--model-id {own} --sharded true --num-shard 8", {}, SHARDED),
    "both, in one word": Case("--model-id {own} --sharded=true --num-shard=8", {}, SHARDED),
    "--num-shard N": Case("--model-id {own} --num-shard 8", {}, SHARDED),
    "--num-shard=N": Case("--model-id {own} --num-shard=2", {}, SHARDED),
    "--sharded false, yet a number": Case("--model-id {own} --sharded false --num-shard 2", {}, SHARDED),
    "NUM_SHARD": Case("--model-id {own}", {"NUM_SHARD": "8"}, SHARDED),
    "SHARDED and NUM_SHARD": Case("--model-id {own}", {"SHARDED": "true", "NUM_SHARD": "8"}, SHARDED),
    "option over variable": Case("--model-id {own} --num-shard 1", {"NUM_SHARD": "8"}, ONE_CARD),
    "SageMaker": Case(
        "", {"HF_MODEL_ID": "{own}", "SM_NUM_GPUS": "4"}, SHARDED | {"MODEL_ID": "{own}", "NUM_SHARD": "4"}
    ),
    # Without a number the launcher would ask CUDA's variables and panic.
    "--sharded true": on_cards("0,1,2,3", SHARDED | {"NUM_SHARD": "4"}, "--sharded true"),
    "--sharded=true": on_cards("0,1", SHARDED | {"NUM_SHARD": "2"}, "--sharded=true"),
    "SHARDED": on_cards("4,5,6,7", SHARDED | {"NUM_SHARD": "4"}, SHARDED="true"),
    "some modules of all devices": on_cards(
        "all", SHARDED | {"NUM_SHARD": "2"}, "--sharded true", HABANA_VISIBLE_MODULES="6,7"
    ),
    "cards alone shard nothing": on_cards("0,1,2,3", ONE_CARD),
    # What the user has set wins.
    "--max-batch-size": Case("--model-id {own} --max-batch-size 4", {}, DERIVED),
    "MAX_BATCH_SIZE": Case("--model-id {own}", {"MAX_BATCH_SIZE": "4"}, DERIVED),
    "own collectives": Case("--model-id {own} --num-shard 2", {"PT_HPU_ENABLE_LAZY_COLLECTIVES": "false"}, ONE_CARD),
    "bfloat16": Case("--model-id {own} --dtype bfloat16", {}, ONE_CARD),
    # The launcher's own to refuse.
    "--sharded without a value": Case("--model-id {own} --sharded", {}, ONE_CARD),
    "one shard, sharded": Case("--model-id {own} --sharded true --num-shard 1", {}, ONE_CARD),
    # Other models, and questions.
    "float model": Case("--model-id {float} --num-shard 8 --dtype float16"),
    "float model, no number": Case("--model-id {float} --sharded true"),
    "nothing": Case(""),
    "help": Case("--help --model-id {own} --sharded true --dtype float16"),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """With the script of the image, run by this Python."""
    folder = tmp_path_factory.mktemp("gaudi")
    script = folder / "launcher.py"
    script.write_text(SCRIPT.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}"))
    script.chmod(0o755)
    return Machine(folder, script)


@pytest.fixture(scope="module")
def models(machine: Machine) -> dict[str, Path]:
    return {"own": machine.model("own", AUTO_ROUND), "float": machine.model("float", None)}


@pytest.mark.parametrize("name", CASES)
def test_the_launcher_gets(name: str, machine: Machine, models: dict[str, Path]) -> None:
    case = CASES[name]
    arguments = case.arguments.format(**models).split()
    given = IMAGE | {variable: value.format(**models) for variable, value in case.environment.items()}
    run = machine.run(*arguments, **given)
    assert run.arguments == arguments, run.stderr
    added = {variable: value.format(**models) for variable, value in case.added.items()}
    assert run.environment == machine.environment | given | added


def test_the_choice_is_stripped_as_elsewhere(machine: Machine, models: dict[str, Path]) -> None:
    run = machine.run("--model-id", models["own"], "--quantize", "auto-round", "--num-shard", "2", **IMAGE)
    assert run.arguments == ["--model-id", str(models["own"]), "--num-shard", "2"], run.stderr
    assert run.environment == machine.environment | IMAGE | SHARDED | {"TGI_AUTOROUND": "1"}


def test_blanks_and_quotes_in_values_arrive_as_they_were(machine: Machine, models: dict[str, Path]) -> None:
    arguments = ["--model-id", str(models["own"]), "--num-shard", "2", "--api-key", "a b  'c' \"d\" $e *"]
    assert machine.run(*arguments, **IMAGE).arguments == arguments


@pytest.mark.parametrize("arguments", [("--dtype", "float16"), ("--dtype=float16", "--quantize", "auto-round")])
def test_float16_is_refused_because_the_server_would_take_float32(
    arguments: tuple[str, ...], machine: Machine, models: dict[str, Path]
) -> None:
    run = machine.run("--model-id", models["own"], *arguments, **IMAGE)
    assert (run.exit_code, run.arguments) == (2, None)
    assert "turns it into float32 without a word; leave --dtype away, or give bfloat16\n" in run.stderr


def test_float16_by_variable_is_refused(machine: Machine, models: dict[str, Path]) -> None:
    run = machine.run("--model-id", models["own"], **IMAGE, DTYPE="float16")
    assert (run.exit_code, run.arguments) == (2, None)


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("deepseek_v2", "reads a floating-point kv_b_proj"),
        ("llama4", "reads its fused experts in floating point"),
        ("gpt2", "TGI transposes its weights"),
    ],
)
def test_an_architecture_whose_code_for_gaudi_cannot_take_packed_weights_is_refused(
    model_type: str, reason: str, machine: Machine
) -> None:
    run = machine.run("--model-id", machine.model(model_type, AUTO_ROUND, model_type=model_type), **IMAGE)
    assert (run.exit_code, run.arguments) == (1, None)
    assert f"model_type {model_type}: not served quantized by TGI" in run.stderr
    assert reason in run.stderr


@pytest.mark.parametrize(("devices", "cards"), [("3", 1), ("none", 0)])
def test_sharding_over_too_few_cards_is_refused_with_their_number(
    devices: str, cards: int, machine: Machine, models: dict[str, Path]
) -> None:
    given = IMAGE | {"HABANA_VISIBLE_DEVICES": devices}
    run = machine.run("--model-id", models["own"], "--sharded", "true", **given)
    assert (run.exit_code, run.arguments) == (2, None)
    assert f"--sharded true: {cards} Gaudi cards are visible here" in run.stderr


@pytest.mark.parametrize("environment", [{}, {"HABANA_VISIBLE_DEVICES": "all"}])
def test_cards_are_counted_by_their_device_files_where_no_variable_lists_them(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for name in ("accel0", "accel_controlD0", "accel1", "accel_controlD1", "accel10"):
        (tmp_path / name).touch()
    assert visible_cards(environment, tmp_path) == 3
    assert visible_cards(environment, tmp_path / "absent") == 0
