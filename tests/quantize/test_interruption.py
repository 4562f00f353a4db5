"""Ctrl-C, kill -9 and a full disk leave an earlier OUT as it was, and --resume goes on where the job stopped."""

import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.models import make_llama
from tests.quantize.conftest import COMMAND, RunQuantize, contents_of, events_of, start_quantize
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.workspace import Workspace

BLOCKS = 4
SLOW_TUNING = ("--iters", "12", "--nsamples", "8", "--seqlen", "32", "--batch-size", "4", "--overwrite")
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("deep") / "model", hidden=64, intermediate=128, layers=BLOCKS)


@pytest.fixture
def earlier_out(tmp_path: Path) -> Path:
    """An OUT that an earlier job left."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("{}")
    return out


def stop_after_first_block(process: "subprocess.Popen[str]", out: Path, with_signal: signal.Signals) -> str:
    workspace, deadline = Workspace(out), time.monotonic() + DEADLINE_S
    with process:
        try:
            while workspace.finished_blocks() < 1:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline, "no block was finished in time"
                time.sleep(0.02)
            process.send_signal(with_signal)
            return process.communicate(timeout=DEADLINE_S)[0]
        finally:
            process.kill()


def test_kill_leaves_the_earlier_out_and_resume_finishes_the_job(
    deep_model: Path, earlier_out: Path, calibration_file: Path, run_quantize: RunQuantize
) -> None:
    before = contents_of(earlier_out)
    arguments = (deep_model, earlier_out, *SLOW_TUNING, "--dataset", calibration_file)
    stop_after_first_block(start_quantize(*arguments), earlier_out, signal.SIGKILL)
    assert contents_of(earlier_out) == before
    finished = Workspace(earlier_out).finished_blocks()
    assert 1 <= finished < BLOCKS

    with pytest.raises(QuantizeError, match="--resume"):
        run_quantize(*arguments)
    with pytest.raises(QuantizeError, match="other options"):
        run_quantize(*arguments, "--resume", "--bits", 2)

    said = run_quantize(*arguments, "--resume")
    assert f"going on after {finished} blocks" in said
    log_file = Workspace(earlier_out).log_file
    again = [event["index"] for event in events_of(log_file, "block")][-(BLOCKS - finished) :]
    assert again == list(range(finished + 1, BLOCKS + 1))
    assert len(open_checkpoint(earlier_out).quantized_layers) == BLOCKS * 7
    assert not Workspace(earlier_out).root.exists()


def test_ctrl_c_leaves_the_earlier_out_and_says_how_to_go_on(
    deep_model: Path, earlier_out: Path, calibration_file: Path
) -> None:
    before = contents_of(earlier_out)
    process = start_quantize(deep_model, earlier_out, *SLOW_TUNING, "--dataset", calibration_file)
    said = stop_after_first_block(process, earlier_out, signal.SIGINT)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    assert contents_of(earlier_out) == before


def test_a_disk_that_fills_up_leaves_the_earlier_out_and_is_told_in_a_sentence(
    deep_model: Path, earlier_out: Path
) -> None:
    before = contents_of(earlier_out)
    smallest_weight_file_bytes = (deep_model / "model.safetensors").stat().st_size // 4

    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest_weight_file_bytes, smallest_weight_file_bytes))

    done = subprocess.run(
        [*COMMAND, str(deep_model), str(earlier_out), "--recipe", "rtn", "--overwrite"],
        preexec_fn=fill_disk,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents_of(earlier_out) == before
    assert not Workspace(earlier_out).root.exists(), "a full disk is not kept full by what cannot be resumed"


def test_a_failure_after_the_tuning_does_not_cost_the_tuning(
    deep_model: Path, tmp_path: Path, run_quantize: RunQuantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    arguments = (deep_model, tmp_path / "out", "--recipe", "rtn")
    with monkeypatch.context() as patched:
        patched.setattr("tgi_autoround.quantize.job.assemble", full_disk)
        with pytest.raises(QuantizeError, match=r"No space left.*--resume"):
            run_quantize(*arguments)
    monkeypatch.setattr("tgi_autoround.quantize.job.run_autoround", full_disk)  # must not be needed again
    assert "going on after the tuning" in run_quantize(*arguments, "--resume")
    assert len(open_checkpoint(tmp_path / "out").quantized_layers) == BLOCKS * 7


def test_two_jobs_for_one_out_are_refused(deep_model: Path, earlier_out: Path, run_quantize: RunQuantize) -> None:
    with Workspace(earlier_out).locked(), pytest.raises(QuantizeError, match="another job is writing"):
        run_quantize(deep_model, earlier_out, "--recipe", "rtn", "--overwrite")


def test_a_swap_cut_between_its_renames_is_undone_by_the_next_job(earlier_out: Path) -> None:
    before = contents_of(earlier_out)
    workspace = Workspace(earlier_out)
    workspace.root.mkdir()
    earlier_out.rename(workspace.replaced)
    workspace.restore()
    assert contents_of(earlier_out) == before
