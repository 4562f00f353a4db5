"""The shim becomes the launcher: its process, signals and exit codes; and finds the right one."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tgi.launching import AUTO_ROUND, LIMIT_S, SHIM, Machine

STOPPED_EXIT_CODE = 42


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("exit_code", [0, 1, 2, 101])
def test_exit_codes_pass_through(machine: Machine, exit_code: int) -> None:
    model = machine.model("own", AUTO_ROUND)
    assert machine.run("--model-id", model, EXIT_CODE=str(exit_code)).exit_code == exit_code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_reach_the_launcher_in_the_same_process(machine: Machine, name: str) -> None:
    ready = machine.folder / "ready"
    script = f"#!/bin/sh\ntrap 'exit {STOPPED_EXIT_CODE}' {name[3:]}\necho $$ >{ready}\nwhile :; do sleep 0.05; done\n"
    machine.add_program("text-generation-launcher", script)
    command = [machine.shims / SHIM.name, "--model-id", machine.model("own", AUTO_ROUND), "--quantize", "auto-round"]
    environment = {**machine.environment, "PATH": f"{machine.environment['PATH']}:/usr/bin:/bin"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            deadline_s = time.monotonic() + LIMIT_S
            while not (ready.exists() and ready.read_text()) and time.monotonic() < deadline_s:
                time.sleep(0.05)
            assert int(ready.read_text()) == process.pid
            process.send_signal(signal.Signals[name])
            assert process.wait(LIMIT_S) == STOPPED_EXIT_CODE
        finally:
            process.kill()


def test_no_signal_stays_ignored(machine: Machine) -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so in the program that a process becomes."""
    loop = 'while read -r line; do case $line in SigIgn*) echo "$line" >"$RECORD" ;; esac; done </proc/$$/status'
    script = f"#!/bin/sh\n{loop}\n"
    machine.add_program("text-generation-launcher", script)
    subprocess.run([machine.shims / SHIM.name], env=machine.environment, check=True, timeout=LIMIT_S)
    assert re.fullmatch(r"SigIgn:\s*0+\n", machine.record.read_text())


def test_the_environments_own_script_and_its_copies_are_passed_over(machine: Machine) -> None:
    copies = machine.folder / "copies"
    copies.mkdir()
    (copies / SHIM.name).write_bytes(SHIM.read_bytes())
    (copies / SHIM.name).chmod(0o755)
    path = os.pathsep.join(map(str, (machine.shims, SHIM.parent, copies, "/nowhere", machine.programs)))
    assert machine.run("--port", "80", PATH=path).arguments == ["--port", "80"]


def test_the_launcher_keeps_its_name(machine: Machine) -> None:
    """Of a program that is no script, argv[0] is what its usage message names."""
    (machine.programs / "text-generation-launcher").unlink()
    (machine.programs / "text-generation-launcher").symlink_to(Path(sys.executable).resolve())
    done = subprocess.run(
        [machine.shims / SHIM.name, "-c", "import sys; print(sys.orig_argv[0])"],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.stdout == "text-generation-launcher\n"


def test_the_shim_does_not_wait_for_torch() -> None:
    program = (
        "import sys, tgi_autoround.tgi.launcher.command; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
