"""A patched server that is made like tgi-gaudi 2.0's, with the real hooks, on doubles of Gaudi's software."""

import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.coverage import build
from tests.coverage.cases import CASES
from tests.oracle import dequantized_model
from tests.scripts.servers_to_patch import APPLIED, ROOT, Server, insertions_of

PATCH_SET = ROOT / "patches/tgi-gaudi-2.0"
SKELETON = ROOT / "tests/tgi/legacy_skeleton/text_generation_server"
DOUBLES = [ROOT / "tests/upstream/legacy_doubles", ROOT / "scripts/lib"]
CLOSE_IN_BFLOAT16 = 0.05


@pytest.fixture
def server(tmp_path: Path) -> Server:
    root = tmp_path / "text_generation_server"
    shutil.copytree(SKELETON, root, ignore=shutil.ignore_patterns("__pycache__"))
    server = Server(root, tmp_path / "versions.json", PATCH_SET)
    server.know()
    return server


def serve(server: Server, *arguments: str, doubles: list[Path] = DOUBLES) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [server.root.parent, *doubles]))
    return subprocess.run(
        [sys.executable, "-B", "-m", "text_generation_server.cli", "serve", *arguments],
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_patched_server_computes_what_the_checkpoint_says(server: Server) -> None:
    folder = build.checkpoint(next(case for case in CASES if case.name == "auto_round W4 sym g128"))
    for command in ("apply", "verify", "apply"):
        assert server.run(command).code == APPLIED
    done = serve(server, str(folder), "--quantize", "auto-round", "--prompt", "5 6 7 8")
    assert done.returncode == 0, done.stderr
    logits = torch.tensor(json.loads(done.stdout))
    with torch.no_grad():
        wanted = dequantized_model(folder)(torch.tensor([[5, 6, 7, 8]])).logits[0, -1]
    assert (logits - wanted).norm() <= CLOSE_IN_BFLOAT16 * wanted.norm()


def test_the_patched_server_serves_a_plain_model_as_before(server: Server) -> None:
    plain = str(build.source_model("llama"))
    before = serve(server, plain, doubles=[])
    assert server.run("apply").code == APPLIED
    after = serve(server, plain, doubles=[])
    assert (before.returncode, before.stdout) == (0, after.stdout), before.stderr + after.stderr


def test_every_hook_exists_and_takes_what_the_insertion_gives() -> None:
    from tgi_autoround.tgi.legacy import hooks

    nodes = [node for entry in insertions_of(PATCH_SET) for node in ast.walk(ast.parse("\n".join(entry["lines"])))]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    assert calls
    for call in calls:
        module, name = ast.unparse(call.func).split(".")
        assert module == "hooks"
        inspect.signature(getattr(hooks, name)).bind(*call.args)
