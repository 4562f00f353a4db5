"""The self-test for owners of a card, run as they run it, but with the op emulated."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/hpu_selftest.py"
THREE_GROUPS = {f"linear W{bits} {kind}" for bits in (2, 3, 4) for kind in ("sym", "asym")}
"""352 inputs in groups of 128, by the op."""


def run(*arguments: object, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished() -> subprocess.CompletedProcess[str]:
    return run("--device", "cpu")


def pasted(output: str) -> dict[str, list[dict[str, object]]]:
    return json.loads(output.partition("```json\n")[2].partition("\n```")[0])


def test_every_check_passes_on_the_emulation(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stderr
    assert {finding["result"] for finding in pasted(finished.stdout)["findings"]} == {"ok", "measured"}


def test_the_op_is_checked_by_vectors_that_do_not_come_from_it(finished: subprocess.CompletedProcess[str]) -> None:
    findings = [finding for finding in pasted(finished.stdout)["findings"] if finding["check"].startswith("op ")]
    assert len(findings) == 5 * 3 * 2
    assert {finding["figures"]["difference"] for finding in findings} == {0}


def test_nobody_takes_the_emulation_for_a_card(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.stdout.startswith("Gaudi self-test on the CPU, the op emulated: arithmetic alone, no speed\n")
    assert pasted(finished.stdout)["machine"]["emulated"] is True


def results_with(emulation_line: str, other: str, folder: Path) -> dict[str, str]:
    """What the checks find where the emulated op computes otherwise."""
    script = folder / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    emulation = (SCRIPT.parent / "lib/hpu_emulation.py").read_text(encoding="utf-8")
    assert emulation.count(emulation_line) == 1
    (folder / "lib").mkdir()
    (folder / "lib/hpu_emulation.py").write_text(emulation.replace(emulation_line, other), encoding="utf-8")
    finished = run("--device", "cpu", script=script)
    assert finished.returncode == 1
    return {finding["check"]: finding["result"] for finding in pasted(finished.stdout)["findings"]}


def test_an_op_that_refuses_some_calls_leaves_the_findings_of_all_others(
    tmp_path: Path, finished: subprocess.CompletedProcess[str]
) -> None:
    refusing = 'steps = _nibbles(input)\n    _require(scale.shape[0] != 3, "three groups")'
    results = results_with("steps = _nibbles(input)", refusing, tmp_path)
    every_check = {finding["check"] for finding in pasted(finished.stdout)["findings"]}
    assert {check for check in every_check if check.startswith(("op ", "linear "))} <= set(results)
    for check, result in results.items():
        if check.startswith(("op ", "linear ")):
            has_three_groups = "3 groups" in check or check in THREE_GROUPS
            assert result == ("FAILED" if has_three_groups else "ok"), check


def test_an_op_that_subtracts_otherwise_fails_without_hiding_the_other_checks(tmp_path: Path) -> None:
    """As a card would whose subtraction in 8 bits wrapped around below zero."""
    results = results_with("steps.to(out_dtype) *", "steps.to(torch.uint8).to(out_dtype) *", tmp_path)
    assert results["op 48x40, 3 groups, zero points packed, bfloat16"] == "FAILED"
    assert results["op 48x40, 3 groups, zero points none, bfloat16"] == "ok"
    assert results["linear W4 asym"] == results["two cards"] == "FAILED"
    assert results["linear W8 asym"] == "ok"


def test_without_gaudis_software_it_says_what_to_do() -> None:
    finished = run()
    assert finished.returncode == 2
    assert "run this in a Gaudi image, or with --device cpu" in finished.stderr
