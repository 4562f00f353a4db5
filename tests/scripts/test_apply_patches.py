"""scripts/apply_patches.py inserts what the patch set says, where it says, and nothing else."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.scripts.servers_to_patch import (
    APPLIED,
    FAILED,
    FILES,
    REFUSED,
    USAGE,
    Server,
    new_server,
    run_script,
    sha256,
)


def test_check_writes_nothing(server: Server) -> None:
    before = server.contents()
    checked = server.run("check")
    assert checked.code == APPLIED
    assert "releases with these files: 9.9.9" in checked.output
    assert server.contents() == before


def test_verify_tells_a_patched_server_from_one_that_is_not(server: Server) -> None:
    refused = server.run("verify")
    assert (refused.code, refused.output) == (REFUSED, "")
    assert "is not applied to cli.py" in refused.errors
    server.run("apply")
    assert server.run("verify").code == APPLIED


def test_applying_twice_is_applying_once(server: Server) -> None:
    server.run("apply")
    once = server.contents()
    again = server.run("apply")
    assert again.code == APPLIED
    assert "already applied" in again.output
    assert server.contents() == once


def test_an_interrupted_patch_is_completed(server: Server, tmp_path: Path) -> None:
    whole = new_server(tmp_path / "whole")
    whole.run("apply")
    shutil.copy(whole.root / "cli.py", server.root / "cli.py")
    assert server.run("verify").code == REFUSED
    assert server.run("apply").code == APPLIED
    assert server.contents() == whole.contents()


@pytest.mark.parametrize("again", ["as it is", "patched"])
def test_the_diff_makes_the_patched_server_and_takes_it_back(server: Server, tmp_path: Path, again: str) -> None:
    pristine, patched = server.contents(), new_server(tmp_path / "patched")
    patched.run("apply")
    difference = (server if again == "as it is" else patched).run("diff").output
    assert re.findall(r"^-(?!--)", difference, re.MULTILINE) == []
    apply_diff(server, difference)
    assert server.contents() == patched.contents()
    apply_diff(server, difference, "-R")
    assert server.contents() == pristine


def apply_diff(server: Server, difference: str, *options: str) -> None:
    tool = ["patch", "-s", "-p1"] if shutil.which("patch") else ["git", "apply", "-p1"]
    subprocess.run([*tool, *options], cwd=server.root, input=difference.encode(), check=True)


def test_line_ends_stay_as_they_are(server: Server, tmp_path: Path) -> None:
    for name in FILES:
        server.edit(name, lambda text: text.replace("\n", "\r\n"))
    server.know()
    assert server.run("apply").code == APPLIED
    assert server.run("verify").code == APPLIED
    plain = new_server(tmp_path / "plain")
    plain.run("apply")
    for name in FILES:
        assert (server.root / name).read_bytes() == (plain.root / name).read_bytes().replace(b"\n", b"\r\n")


def test_permissions_stay_as_they_are(server: Server) -> None:
    (server.root / "cli.py").chmod(0o640)
    server.run("apply")
    assert (server.root / "cli.py").stat().st_mode & 0o777 == 0o640


def test_a_docstring_stays_the_first_statement(server: Server) -> None:
    docstring = '    """Serve\n    it."""\n'
    server.edit("cli.py", lambda text: text.replace("    if quantize is not", f"{docstring}    if quantize is not"))
    server.know()
    assert server.run("apply").code == APPLIED
    assert f"{docstring}    from tgi_autoround.tgi import hooks\n" in (server.root / "cli.py").read_text()


def test_the_record_says_what_was_patched(server: Server, tmp_path: Path) -> None:
    before = sha256(server.root / "cli.py")
    assert server.run("apply", "--record", str(tmp_path / "record.json")).code == APPLIED
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["patch_set"] == "tgi-3.3.7"
    assert record["releases"] == ["9.9.9"]
    assert sorted(record["sha256"]) == FILES
    assert record["sha256"]["cli.py"] == {"before": before, "after": sha256(server.root / "cli.py")}


def test_the_package_is_found_without_being_imported(server: Server) -> None:
    (server.root / "__init__.py").write_text("raise SystemExit('imported')\n")
    environment = os.environ | {"PYTHONPATH": str(server.root.parent)}
    checked = run_script("check", "tgi-3.3.7", "--versions", str(server.versions), env=environment)
    assert checked.code == APPLIED, checked.errors


def test_a_python_without_the_server_is_told_where_to_look(server: Server) -> None:
    failed = run_script("check", "tgi-3.3.7", "--versions", str(server.versions))
    assert failed.code == FAILED
    assert "--root" in failed.errors


def test_unknown_patch_sets_and_commands_are_reported(server: Server) -> None:
    assert run_script("check", "tgi-0.0.0", "--root", str(server.root)).code == FAILED
    assert run_script("explain", "tgi-3.3.7").code == USAGE
