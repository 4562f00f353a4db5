"""What the launcher's shim refuses ends in a sentence, before anything is downloaded or started."""

from pathlib import Path

import pytest

from tests.tgi.launching import AUTO_ROUND, Machine, Run


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refused(run: Run, exit_code: int, *parts: str) -> None:
    assert run.exit_code == exit_code
    assert run.arguments is None
    assert run.stderr.startswith("text-generation-launcher: ")
    assert run.stderr.count("\n") == 1
    for part in parts:
        assert part in run.stderr


def test_asking_twice_is_a_usage_error_as_it_is_of_the_launcher(machine: Machine) -> None:
    model = machine.model("own", AUTO_ROUND)
    run = machine.run("--model-id", model, "--quantize", "auto-round", "--quantize=gptq")
    refused(run, 2, "--quantize is given 2 times, as auto-round and gptq; give it once")


def test_auto_round_without_a_model_is_a_usage_error(machine: Machine) -> None:
    refused(machine.run("--quantize", "auto-round"), 2, "no model; give --model-id (or MODEL_ID)")


def test_a_float_model_is_refused_before_its_weights_are_loaded(machine: Machine) -> None:
    run = machine.run("--model-id", machine.model("float", None), "--quantize", "auto-round")
    refused(run, 2, "the model is not quantized", "quantize MODEL OUT --method autoround")


def test_another_method_for_an_auto_round_model_is_a_usage_error(machine: Machine) -> None:
    run = machine.run("--model-id", machine.model("own", AUTO_ROUND), "--quantize", "eetq")
    refused(run, 2, "--quantize eetq: the model is quantized by AutoRound already")


def test_an_architecture_that_tgi_would_read_wrong_is_refused(machine: Machine) -> None:
    run = machine.run("--model-id", machine.model("mpt", AUTO_ROUND, model_type="mpt"))
    refused(run, 1, "model_type mpt: not served quantized by TGI", "tgi-autoround serve")


def test_a_rotary_embedding_that_4_51_cannot_express_is_refused(machine: Machine) -> None:
    rope = {"rope_type": "proportional", "rope_theta": 1e6}
    run = machine.run("--model-id", machine.model("rope", AUTO_ROUND, rope_parameters=rope))
    refused(run, 1, "rope_parameters.rope_type is 'proportional'")


def test_a_model_that_is_asked_for_and_not_there_is_named(machine: Machine) -> None:
    run = machine.run("--model-id", "someone/absent", "--quantize", "auto-round", "--revision", "v2")
    refused(run, 1, "someone/absent at revision v2 is no directory here, and the hub does not give its files")


def test_a_directory_without_config_is_named(machine: Machine) -> None:
    run = machine.run("--model-id", machine.folder, "--quantize", "auto-round")
    refused(run, 1, f"{machine.folder}/config.json cannot be read")


def test_without_a_launcher_the_way_to_serve_is_named(machine: Machine) -> None:
    (machine.programs / "text-generation-launcher").unlink()
    run = machine.run("--model-id", machine.model("own", AUTO_ROUND))
    refused(run, 1, "no text-generation-launcher of TGI's in PATH", "`tgi-autoround serve`")


def test_a_launcher_that_cannot_be_run_is_named(machine: Machine) -> None:
    machine.add_program("text-generation-launcher", "#!/nowhere/interpreter\n")
    refused(machine.run(), 1, f"{machine.programs}/text-generation-launcher cannot be run: No such file or directory")
