"""Models come from a hub and go to one; the real client talks to a hub of ours."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.quantize.conftest import contents_of, start_quantize
from tests.quantize.fake_hub import GATED, PRESENT, TOKEN, FakeHub, fake_hub

TIMEOUT_S = 120


@pytest.fixture(scope="module")
def hub(model: Path) -> Iterator[FakeHub]:
    with fake_hub(model) as running:
        yield running


def run(hub_address: str, tmp_path: Path, *arguments: object, token: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {
        "HF_ENDPOINT": hub_address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": token,
        # The fake hub speaks git-lfs; Xet needs a second service.
        "HF_HUB_DISABLE_XET": "1",
    }
    with start_quantize(*arguments, **environment) as process:
        try:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def test_a_hub_model_is_fetched_quantized_and_pushed(hub: FakeHub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (PRESENT, out, "--recipe", "rtn", "--upload-to-model-id", "someone/present-w4")
    done = run(hub.address, tmp_path, *arguments, token=TOKEN)
    assert done.returncode == 0, done.stdout
    pushed = hub.pushed["someone/present-w4"]
    assert pushed == contents_of(out)
    assert b'base_model: "someone/present"' in pushed["README.md"]
    assert f"pushed to {hub.address}/someone/present-w4" in done.stdout


@pytest.mark.parametrize(
    ("model_id", "token", "reason"),
    [
        ("someone/absent", "", "someone/absent: no such model, neither as a directory here nor on the hub"),
        (GATED, "", "someone/gated is gated: ask for access"),
        (GATED, TOKEN, "a token is set, but has no access"),
    ],
)
def test_models_that_cannot_be_had_are_refused_in_a_sentence(
    hub: FakeHub, tmp_path: Path, model_id: str, token: str, reason: str
) -> None:
    done = run(hub.address, tmp_path, model_id, tmp_path / "out", token=token)
    assert done.returncode == 1
    assert reason in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_hub_out_of_reach_is_told_without_minutes_of_retries(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9", tmp_path, "someone/model", tmp_path / "out")
    assert done.returncode == 1
    assert "no such directory here, and the hub cannot be reached" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_push_that_could_not_work_is_refused_before_the_job(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    arguments = (model, tmp_path / "out", "--recipe", "rtn", "--upload-to-model-id", "someone/w4")
    done = run(hub.address, tmp_path, *arguments, token="hf_wrong")
    assert done.returncode == 1
    assert "the hub does not accept the token" in done.stdout
    assert not (tmp_path / "out").exists()
