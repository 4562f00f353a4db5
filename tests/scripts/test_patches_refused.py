"""What scripts/apply_patches.py does not take, it leaves alone to the last byte, and says why."""

import ctypes
import dataclasses
import json
import re
from pathlib import Path

import pytest

from tests.scripts.servers_to_patch import (
    APPLIED,
    FAILED,
    FILES,
    GAUDI_PATCH_SET,
    PATCH_SET,
    REFUSED,
    ROOT,
    Outcome,
    Server,
    new_server,
    sha256,
)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_unless_told_otherwise(server: Server, name: str) -> None:
    server.edit(name, lambda text: text + "# drift\n")
    before = server.contents()
    refused = server.run("apply")
    assert refused.code == REFUSED
    assert f"was not verified on {name} " in refused.errors
    assert server.contents() == before
    assert server.run("apply", "--allow-unknown").code == APPLIED
    assert server.run("verify").code == REFUSED
    assert server.run("verify", "--allow-unknown").code == APPLIED


def test_files_of_different_releases_are_refused(server: Server) -> None:
    known = {name: {sha256(server.root / name): ["9.9.9"]} for name in FILES}
    known["cli.py"] = {sha256(server.root / "cli.py"): ["1.0.0"]}
    server.know_as(known)
    refused = server.run("apply")
    assert refused.code == REFUSED
    assert "of different releases" in refused.errors


def test_a_file_may_be_absent_where_it_is_known_to_be(server: Server) -> None:
    name = "models/transformers_flash_vlm.py"
    known = {file: {sha256(server.root / file): ["9.9.9"]} for file in FILES}
    (server.root / name).unlink()
    server.know_as(known)
    assert f"has no {name}" in server.run("apply", "--allow-unknown").errors
    server.know_as(known | {name: {"absent": ["9.9.9"]}})
    assert server.run("apply").code == APPLIED
    server.know_as(known | {name: {"absent": ["1.0.0"]}})
    assert "of different releases" in server.run("verify").errors


def test_a_patched_file_changed_elsewhere_is_refused(server: Server) -> None:
    server.run("apply")
    server.edit("cli.py", lambda text: text + "# drift\n")
    assert server.run("verify").code == REFUSED
    assert server.run("apply").code == REFUSED


def test_a_patched_file_that_lost_an_insertion_is_refused(server: Server) -> None:
    server.run("apply")
    server.edit("cli.py", lambda text: text.replace('    auto_round = "auto-round"\n', ""))
    refused = server.run("apply", "--allow-unknown")
    assert refused.code == REFUSED
    assert "1 of the 2 insertions" in refused.errors


def test_an_insertion_in_another_place_is_refused(server: Server) -> None:
    block = "    from tgi_autoround.tgi import hooks\n    quantize = hooks.take_cli_choice(quantize)\n"
    server.run("apply")
    server.edit(
        "cli.py", lambda text: text.replace(block, "").replace("    model = get_model", f"{block}    model = get_model")
    )
    refused = server.run("verify", "--allow-unknown")
    assert refused.code == REFUSED
    assert "in other places" in refused.errors


MISSING_ANCHORS = {
    "another name of the class": ("cli.py", "class Quantization", "class Method", "Quantization is there 0 times"),
    "a class without members": ("cli.py", r'    (gptq|awq|marlin) = ".*"\n', "    pass\n", "has no members"),
    "a member of that name": ("cli.py", 'marlin = "marlin"', 'auto_round = "autoround"', "the member auto_round"),
    "another name of the function": ("models/__init__.py", "def get_model", "def find_model", "is there 0 times"),
    "the function twice": ("utils/quantization.py", r"\Z", "\n\ndef get_loader():\n    pass\n", "is there 2 times"),
    "a body without lines": (
        "utils/quantization.py",
        r"(?s)(def get_loader.*?object:).*",
        r"\1 pass\n",
        "no room for lines",
    ),
    "a parameter of another name": ("models/causal_lm.py", "quantize", "method", "['quantize'] should be defined"),
    "a result that nothing reads": (
        "models/transformers_flash_causal_lm.py",
        r"AutoModelForCausalLM\.from",
        "model.from",
        "nothing behind the insertion uses ['AutoModelForCausalLM']",
    ),
    "an unfinished last line": ("cli.py", r"\n\Z", "", "the last line has no end"),
    "not Python": ("cli.py", r"\Z", "\n)\n", "is not Python"),
}


@pytest.mark.parametrize(("name", "pattern", "replacement", "reason"), MISSING_ANCHORS.values(), ids=MISSING_ANCHORS)
def test_a_server_without_an_anchor_is_refused_and_left_alone(
    server: Server, name: str, pattern: str, replacement: str, reason: str
) -> None:
    server.edit(name, lambda text: re.sub(pattern, replacement, text))
    server.know()
    before = server.contents()
    refused = server.run("apply", "--allow-unknown")
    assert (refused.code, server.contents()) == (REFUSED, before)
    assert reason in refused.errors


WRONG_INSERTIONS = {
    "no import": ("def serve", ["quantize = hooks.take_cli_choice(quantize)", "pass"], "do not import the hooks"),
    "another import": (
        "def serve",
        ["from hooks import hooks", "quantize = hooks.take_cli_choice(quantize)"],
        "import",
    ),
    "another hook": ("def serve", ["{import}", "quantize = hooks.take(quantize)"], "do not call hooks.take_cli_choice"),
    "an unused result": ("def serve", ["{import}", "hooks.take_cli_choice(quantize)"], "is not assigned"),
    "another name": ("def serve", ["{import}", "choice = hooks.take_cli_choice(quantize)"], "sets ['choice'] and not"),
    "a result not returned": ("def get_loader", ["{import}", "hooks.get_loader(model_id, revision)"], "not returned"),
    "an unknown name": ("def get_loader", ["{import}", "return hooks.get_loader(name)"], "['name'] should be defined"),
    "another member": ("class Quantization", ['auto_round = "autoround"'], "should have the value 'auto-round'"),
}


@pytest.mark.parametrize(("scope", "lines", "reason"), WRONG_INSERTIONS.values(), ids=WRONG_INSERTIONS)
def test_insertions_that_do_not_do_what_they_promise_are_refused(
    server: Server, tmp_path: Path, scope: str, lines: list[str], reason: str
) -> None:
    manifest = json.loads((PATCH_SET / "manifest.json").read_text())
    [insertion] = [insertion for insertion in manifest["insertions"] if insertion["into"] == scope]
    insertion["lines"] = [line.replace("{import}", "from tgi_autoround.tgi import hooks") for line in lines]
    before = server.contents()
    refused = apply_manifest(server, tmp_path, manifest)
    assert (refused.code, server.contents()) == (REFUSED, before)
    assert reason in refused.errors


def apply_manifest(server: Server, folder: Path, manifest: dict[str, object]) -> Outcome:
    patch_set = folder / PATCH_SET.name
    patch_set.mkdir()
    (patch_set / "manifest.json").write_text(json.dumps(manifest))
    return dataclasses.replace(server, patch_set=patch_set).run("apply")


@pytest.mark.parametrize(("key", "value"), [("at", "the end"), ("then", None), ("file", None)])
def test_a_malformed_manifest_is_reported(server: Server, tmp_path: Path, key: str, value: object) -> None:
    manifest = json.loads((PATCH_SET / "manifest.json").read_text())
    manifest["insertions"][0][key] = value
    if value is None:
        del manifest["insertions"][0][key]
    assert apply_manifest(server, tmp_path, manifest).code == FAILED


@pytest.mark.parametrize(
    ("installed", "wanted", "reason"),
    [(GAUDI_PATCH_SET, PATCH_SET, "is not TGI for NVIDIA"), (PATCH_SET, GAUDI_PATCH_SET, "is not TGI for Gaudi")],
)
def test_the_patch_set_of_another_server_is_refused(tmp_path: Path, installed: Path, wanted: Path, reason: str) -> None:
    server = new_server(tmp_path, installed)
    before = server.contents()
    refused = dataclasses.replace(server, patch_set=wanted).run("apply", "--allow-unknown")
    assert (refused.code, server.contents()) == (REFUSED, before)
    assert reason in refused.errors


def test_a_file_that_is_no_text_is_reported(server: Server) -> None:
    (server.root / "cli.py").write_bytes(b"\xff\xfe")
    failed = server.run("apply")
    assert failed.code == FAILED
    assert "cli.py cannot be read" in failed.errors


def without_root_privileges() -> None:
    """Root reads and writes whatever the permissions say, unless it gives that right up before the program starts."""
    drop_from_bounding_set, overriding_permissions, reading_anything = 24, 1, 2
    for capability in (overriding_permissions, reading_anything):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability)


def test_an_unreadable_file_is_reported(server: Server) -> None:
    (server.root / "layers/tensor_parallel.py").chmod(0)
    failed = server.run("apply", before_start=without_root_privileges)
    assert failed.code == FAILED
    assert "tensor_parallel.py cannot be read" in failed.errors


def test_a_read_only_folder_leaves_all_files_as_they_were(server: Server) -> None:
    before = server.contents()
    (server.root / "models").chmod(0o555)
    failed = server.run("apply", before_start=without_root_privileges)
    assert (failed.code, server.contents()) == (FAILED, before)
    assert "cannot be written" in failed.errors


@pytest.mark.parametrize("successes", range(len(FILES)))
def test_a_failure_between_two_files_leaves_all_as_they_were(
    server: Server, successes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from patching.errors import Unusable
    from patching.patch_set import read_patch_set
    from patching.server_tree import examine
    from patching.writing import write

    before = server.contents()
    tree = examine(server.root, read_patch_set(PATCH_SET, server.versions), allow_unknown=False)
    monkeypatch.setattr(Path, "replace", failing_once(Path.replace, successes))
    with pytest.raises(Unusable, match="No file was changed"):
        write(tree)
    assert server.contents() == before


def failing_once(replace, successes: int):
    calls = iter(range(100))

    def maybe_replace(path: Path, target: Path) -> Path:
        if next(calls) == successes:
            raise OSError(28, "No space left on device", str(target))
        return replace(path, target)

    return maybe_replace
