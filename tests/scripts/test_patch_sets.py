"""What a patched server does, with the real hooks, and what the patch sets promise about themselves."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.servers_to_patch import APPLIED, GAUDI_PATCH_SET, PATCH_SET, ROOT, Server, insertions_of, new_server


def serve(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "-m", "text_generation_server.cli", "serve", *arguments],
        env=os.environ | {"PYTHONPATH": str(server.root.parent), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def model_folder(parent: Path, **config: object) -> Path:
    folder = parent / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("patch_set", [PATCH_SET, GAUDI_PATCH_SET], ids=lambda folder: folder.name)
def test_the_patched_server_offers_auto_round(tmp_path: Path, patch_set: Path) -> None:
    server = new_server(tmp_path, patch_set)
    assert "auto-round" not in serve(server, "--help").stdout
    assert server.run("apply").code == APPLIED
    assert server.run("verify").code == APPLIED
    assert "auto-round" in serve(server, "--help").stdout


def test_the_patched_server_serves_a_plain_model_as_before(server: Server, tmp_path: Path) -> None:
    model = model_folder(tmp_path, model_type="llama")
    before = serve(server, str(model))
    assert server.run("apply").code == APPLIED
    after = serve(server, str(model))
    assert (after.returncode, after.stdout) == (0, before.stdout), after.stderr


def test_the_patched_server_refuses_to_have_transformers_load_auto_round_weights(
    server: Server, tmp_path: Path
) -> None:
    quantization = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4, "group_size": 32}
    model = model_folder(tmp_path, model_type="x", vision_config={}, quantization_config=quantization)
    assert server.run("apply").code == APPLIED
    refused = serve(server, str(model))
    assert refused.returncode != 0
    assert "cannot load packed weights" in refused.stderr


def test_the_table_knows_every_file_of_every_release_it_lists() -> None:
    patches = json.loads((ROOT / "docker/versions.json").read_text())["patches"]
    assert sorted(patches) == sorted(folder.name for folder in (ROOT / "patches").iterdir())
    for name, table in patches.items():
        manifest = json.loads((ROOT / "patches" / name / "manifest.json").read_text())
        assert set(table["sha256"]) == {insertion["file"] for insertion in manifest["insertions"]}
        for contents in table["sha256"].values():
            releases = [release for found in contents.values() for release in found]
            assert sorted(releases) == sorted(table["digests"])
            assert all(re.fullmatch("[0-9a-f]{64}|absent", key) for key in contents)


def hook_calls() -> list[ast.Call]:
    insertions = [insertion for folder in (PATCH_SET, GAUDI_PATCH_SET) for insertion in insertions_of(folder)]
    nodes = [node for insertion in insertions for node in ast.walk(ast.parse("\n".join(insertion["lines"])))]
    return list({ast.unparse(node): node for node in nodes if isinstance(node, ast.Call)}.values())


@pytest.mark.parametrize("call", hook_calls(), ids=ast.unparse)
def test_every_hook_exists_and_takes_what_the_insertion_gives(call: ast.Call) -> None:
    from tgi_autoround.tgi import hooks

    module, name = ast.unparse(call.func).split(".")
    assert module == "hooks"
    inspect.signature(getattr(hooks, name)).bind(*call.args)
