import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoint.drafts import read_everything, write_files
from tests.fuzz.inputs import files_of, seeds

TIME_S = int(os.environ.get("FUZZ_TIME_S", "60"))


@pytest.mark.parametrize("seed", seeds())
def test_fuzzing_begins_with_checkpoints_that_load(seed: bytes, tmp_path: Path) -> None:
    read_everything(write_files(files_of(seed), tmp_path))


def test_opening_any_checkpoint_loads_it_or_refuses_it(tmp_path: Path) -> None:
    target = Path(__file__).with_name("fuzz_checkpoint.py")
    command = [sys.executable, str(target), f"-max_total_time={TIME_S}", f"-artifact_prefix={tmp_path}/"]
    fuzzing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIME_S + 120)
    assert fuzzing.returncode == 0, fuzzing.stdout[-2000:] + fuzzing.stderr[-5000:]
    assert "Done" in fuzzing.stderr
