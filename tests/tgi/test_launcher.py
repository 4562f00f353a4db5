"""What TGI's launcher is started with, for the command lines and environments that users give to the shim."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tgi.launching import AUTO_ROUND, Machine

DERIVED = {"ATTENTION": "flashinfer", "PREFIX_CACHING": "true", "MAX_BATCH_PREFILL_TOKENS": "4096"}
"""Of the models below: launcher/src/main.rs, v3.3.7, 154-155 and 196-197 (heads of 128), 2126."""
FORCED = {"TGI_AUTOROUND": "1"}


@dataclass(frozen=True)
class Case:
    """`{own}` and the like stand for the directories of models; None in `changes` is a variable taken away."""

    given: str
    passed_on: str
    environment: dict[str, str] = field(default_factory=dict)
    changes: dict[str, str | None] = field(default_factory=dict)


def stripped(given: str, passed_on: str, **environment: str) -> Case:
    """AutoRound is asked for by option."""
    return Case(given, passed_on, environment, FORCED | DERIVED)


def unchanged(given: str, **environment: str) -> Case:
    return Case(given, given, environment)


CASES = {
    # By option, in every spelling and place.
    "two words": stripped("--model-id {own} --quantize auto-round", "--model-id {own}"),
    "one word": stripped("--model-id {own} --quantize=auto-round", "--model-id {own}"),
    "autoround": stripped("--model-id {own} --quantize autoround", "--model-id {own}"),
    "=autoround": stripped("--model-id {own} --quantize=autoround", "--model-id {own}"),
    "auto_round": stripped("--model-id {own} --quantize auto_round", "--model-id {own}"),
    "=auto_round": stripped("--model-id {own} --quantize=auto_round", "--model-id {own}"),
    "capitals": stripped("--model-id {own} --quantize AutoRound", "--model-id {own}"),
    "the config's old name": stripped("--model-id {own} --quantize intel/auto-round", "--model-id {own}"),
    "first": stripped("--quantize auto-round --model-id {own}", "--model-id {own}"),
    "between": stripped(
        "--model-id {own} --quantize auto-round --port 80 --json-output", "--model-id {own} --port 80 --json-output"
    ),
    "after a flag": stripped("--model-id {own} --json-output --quantize auto-round", "--model-id {own} --json-output"),
    "model in one word": stripped("--model-id={own} --quantize auto-round", "--model-id={own}"),
    "dtype is kept": stripped(
        "--model-id {own} --quantize auto-round --dtype bfloat16", "--model-id {own} --dtype bfloat16"
    ),
    "shards are kept": stripped(
        "--model-id {own} --quantize auto-round --num-shard 2", "--model-id {own} --num-shard 2"
    ),
    "model by variable": stripped("--quantize auto-round", "", MODEL_ID="{own}"),
    "old config": stripped("--model-id {old} --quantize auto-round", "--model-id {old}"),
    # Experts on transformers' code cannot be captured.
    "experts": Case("--model-id {experts}", "--model-id {experts}", {}, DERIVED | {"CUDA_GRAPHS": "0"}),
    "experts, graphs given": Case(
        "--model-id {experts} --cuda-graphs 1", "--model-id {experts} --cuda-graphs 1", {}, DERIVED
    ),
    # The launcher reads these configs itself and adds --quantize gptq or awq; the variable makes AutoRound win.
    "exported as gptq": Case("--model-id {gptq} --quantize auto-round", "--model-id {gptq}", {}, FORCED),
    "exported as awq": Case("--model-id {awq} --quantize=autoround", "--model-id {awq}", {}, FORCED),
    # By variable.
    "QUANTIZE": Case(
        "--model-id {own}", "--model-id {own}", {"QUANTIZE": "auto-round"}, FORCED | DERIVED | {"QUANTIZE": None}
    ),
    "QUANTIZE=autoround": Case(
        "--model-id {own}", "--model-id {own}", {"QUANTIZE": "autoround"}, FORCED | DERIVED | {"QUANTIZE": None}
    ),
    "QUANTIZE=auto_round": Case(
        "--model-id {gptq}", "--model-id {gptq}", {"QUANTIZE": "auto_round"}, FORCED | {"QUANTIZE": None}
    ),
    "only variables": Case(
        "", "", {"QUANTIZE": "auto-round", "MODEL_ID": "{own}"}, FORCED | DERIVED | {"QUANTIZE": None}
    ),
    "option over variable": Case(
        "--model-id {own} --quantize auto-round",
        "--model-id {own}",
        {"QUANTIZE": "gptq"},
        FORCED | DERIVED | {"QUANTIZE": None},
    ),
    "SageMaker": Case(
        "--port 8080",
        "--port 8080",
        {"HF_MODEL_ID": "{own}", "HF_MODEL_QUANTIZE": "auto-round", "SM_NUM_GPUS": "2"},
        FORCED | DERIVED | {"HF_MODEL_QUANTIZE": None, "MODEL_ID": "{own}", "NUM_SHARD": "2"},
    ),
    "SageMaker behind TGI's entrypoint": Case(
        "--port 8080",
        "--port 8080",
        {"HF_MODEL_ID": "{own}", "MODEL_ID": "{own}", "HF_MODEL_QUANTIZE": "auto-round", "QUANTIZE": "auto-round"},
        FORCED | DERIVED | {"HF_MODEL_QUANTIZE": None, "QUANTIZE": None},
    ),
    "TGI's names win over SageMaker's": Case(
        "",
        "",
        {"HF_MODEL_ID": "{float}", "MODEL_ID": "{own}", "HF_MODEL_QUANTIZE": "gptq", "QUANTIZE": "auto-round"},
        FORCED | DERIVED | {"HF_MODEL_QUANTIZE": None, "QUANTIZE": None},
    ),
    # Found in config.json, not asked for: the launcher is told what it cannot read, and nothing is forced.
    "found": Case("--model-id {own}", "--model-id {own}", {}, DERIVED),
    "found under the old name": Case("--model-id {old}", "--model-id {old}", {}, DERIVED),
    "found by variable": Case("", "", {"MODEL_ID": "{own}"}, DERIVED),
    "found by SageMaker's variable": Case("", "", {"HF_MODEL_ID": "{own}"}, DERIVED | {"MODEL_ID": "{own}"}),
    "found, gptq asked for": Case("--model-id {own} --quantize gptq", "--model-id {own} --quantize gptq", {}, DERIVED),
    "found, option over variable": Case(
        "--model-id {own} --quantize gptq", "--model-id {own} --quantize gptq", {"QUANTIZE": "auto-round"}, DERIVED
    ),
    # What the user has set wins.
    "own ATTENTION": Case(
        "--model-id {own}",
        "--model-id {own}",
        {"ATTENTION": "flashdecoding"},
        {"PREFIX_CACHING": "true", "MAX_BATCH_PREFILL_TOKENS": "4096"},
    ),
    "own ATTENTION=paged has no prefix caching": Case(
        "--model-id {own}",
        "--model-id {own}",
        {"ATTENTION": "paged"},
        {"PREFIX_CACHING": "0", "MAX_BATCH_PREFILL_TOKENS": "4096"},
    ),
    "own PREFIX_CACHING": Case(
        "--model-id {own}",
        "--model-id {own}",
        {"PREFIX_CACHING": "0"},
        {"ATTENTION": "flashinfer", "MAX_BATCH_PREFILL_TOKENS": "4096"},
    ),
    "own prefill limit by option": Case(
        "--model-id {own} --max-batch-prefill-tokens 512",
        "--model-id {own} --max-batch-prefill-tokens 512",
        {},
        {"ATTENTION": "flashinfer", "PREFIX_CACHING": "true"},
    ),
    "own prefill limit by variable": Case(
        "--model-id {own}",
        "--model-id {own}",
        {"MAX_BATCH_PREFILL_TOKENS": "512"},
        {"ATTENTION": "flashinfer", "PREFIX_CACHING": "true"},
    ),
    # Other models, and what is the launcher's to answer.
    "nothing": unchanged(""),
    "float model": unchanged("--model-id {float} --port 80"),
    "gptq model": unchanged("--model-id {gptq} --quantize gptq"),
    "gptq model, nothing asked for": unchanged("--model-id {gptq}"),
    "awq by variable": unchanged("--model-id {awq}", QUANTIZE="awq"),
    "bitsandbytes": unchanged("--model-id={float} --quantize=bitsandbytes-nf4"),
    "unknown method": unchanged("--model-id {float} --quantize int5"),
    "empty variable": unchanged("--model-id {float}", QUANTIZE=""),
    "SageMaker's variables of another model": unchanged("", HF_MODEL_ID="{float}", HF_MODEL_QUANTIZE="gptq"),
    "absent directory": unchanged("--model-id /nowhere/model"),
    "hub model out of reach": unchanged("--model-id someone/model --revision main"),
    "model without config": unchanged("--model-id {empty}"),
    "model with a broken config": unchanged("--model-id {broken}"),
    "option without value": unchanged("--model-id {float} --quantize"),
    "after the separator": unchanged("--model-id {float} -- --quantize auto-round"),
    "value of another option": unchanged("--model-id {float} --api-key auto-round --revision=--quantize=auto-round"),
    "help": unchanged("--help --model-id {own}"),
    "version": unchanged("-V"),
    "help, AutoRound asked for": Case("--quantize auto-round --help", "--help"),
    "help, AutoRound by variable": Case("--help", "--help", {"QUANTIZE": "auto-round"}, {"QUANTIZE": None}),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def models(machine: Machine) -> dict[str, Path]:
    broken, empty = machine.model("broken", None), machine.model("empty", None)
    (broken / "config.json").write_text('{"model_type": ')
    (empty / "config.json").unlink()
    return {
        "own": machine.model("own", AUTO_ROUND),
        "old": machine.model("old", {"quant_method": "intel/auto-round", "backend": "auto_round:exllamav2"}),
        "gptq": machine.model("gptq", {"quant_method": "gptq", "bits": 4}),
        "awq": machine.model("awq", {"quant_method": "awq", "bits": 4}),
        "float": machine.model("float", None),
        "experts": machine.model("experts", AUTO_ROUND, model_type="qwen3_moe"),
        "broken": broken,
        "empty": empty,
    }


@pytest.mark.parametrize("name", CASES)
def test_the_launcher_gets(name: str, machine: Machine, models: dict[str, Path]) -> None:
    case = CASES[name]
    given = {variable: value.format(**models) for variable, value in case.environment.items()}
    run = machine.run(*case.given.format(**models).split(), **given)
    assert run.arguments == case.passed_on.format(**models).split(), run.stderr
    expected = {**machine.environment, **given}
    for variable, value in case.changes.items():
        if value is None:
            del expected[variable]
        else:
            expected[variable] = value.format(**models)
    assert run.environment == expected


def test_what_is_added_is_told_once_on_stderr(machine: Machine, models: dict[str, Path]) -> None:
    said = machine.run("--model-id", models["own"]).stderr
    assert said == (
        "text-generation-launcher: serving with AutoRound, "
        "ATTENTION=flashinfer PREFIX_CACHING=true MAX_BATCH_PREFILL_TOKENS=4096\n"
    )
    assert machine.run("--model-id", models["float"]).stderr == ""


def test_blanks_and_quotes_in_values_arrive_as_they_were(machine: Machine, models: dict[str, Path]) -> None:
    arguments = ["--model-id", str(models["own"]), "--api-key", "a b  'c' \"d\" $e *", "--cors-allow-origin="]
    assert machine.run("--quantize", "auto-round", *arguments).arguments == arguments
