"""Running the launcher's shim as users do: the installed script, before a launcher that records what it got."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHIM = Path(sys.executable).with_name("text-generation-launcher")
LIMIT_S = 60
STOCK_LAUNCHER = f"""#!{sys.executable} -I
import json, pathlib, sys
pairs = [entry.partition("=") for entry in pathlib.Path("/proc/self/environ").read_text().split("\\0") if entry]
environment = {{name: value for name, _, value in pairs}}
record = {{"arguments": sys.argv[1:], "environment": environment}}
pathlib.Path(environment["RECORD"]).write_text(json.dumps(record))
sys.exit(int(environment.get("EXIT_CODE", "0")))
"""

AUTO_ROUND = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4, "group_size": 128}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "max_position_embeddings": 32_768,
    "rope_theta": 1e6,
}


@dataclass(frozen=True)
class Run:
    """How the process ended; `arguments` and `environment` are None where the stock launcher did not run."""

    exit_code: int
    stderr: str
    arguments: list[str] | None
    environment: dict[str, str] | None


class Machine:
    """A machine with the stock launcher in PATH, behind the shim: the installed script, or another."""

    def __init__(self, folder: Path, shim: Path = SHIM) -> None:
        self.folder = folder
        self.record = folder / "record.json"
        self.programs = folder / "programs"
        self.add_program("text-generation-launcher", STOCK_LAUNCHER)
        # By an absolute link, because the environment's own folder holds more than the shim.
        self.shims = folder / "shims"
        self.shims.mkdir()
        (self.shims / SHIM.name).symlink_to(shim)

    @property
    def environment(self) -> dict[str, str]:
        """What the shim is started with; no LANG, because Python adds a variable of its own in that case."""
        return {
            "PATH": f"{self.shims}{os.pathsep}{self.programs}",
            "RECORD": str(self.record),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "HF_HUB_OFFLINE": "1",
        }

    def add_program(self, name: str, text: str) -> None:
        self.programs.mkdir(exist_ok=True)
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def add_gpu(self, name: str, compute_capability: str) -> None:
        """Put an nvidia-smi into PATH that knows one GPU."""
        answers = {"gpu_name": name, "compute_cap": compute_capability, "uuid": "GPU-1"}
        cases = "".join(f"*--query-gpu={field}*) echo '{answer}' ;;\n" for field, answer in answers.items())
        self.add_program("nvidia-smi", f'#!/bin/sh\ncase "$*" in\n{cases}esac\n')

    def model(self, name: str, quantization: Mapping[str, Any] | None, **config: Any) -> Path:
        """Write a model's config.json and return its directory."""
        directory = self.folder / name
        directory.mkdir()
        content = {**LLAMA, **config} | ({} if quantization is None else {"quantization_config": quantization})
        (directory / "config.json").write_text(json.dumps(content))
        return directory

    def run(self, *arguments: object, **environment: str) -> Run:
        """Run the shim in the machine's folder."""
        self.record.unlink(missing_ok=True)
        command = [self.shims / SHIM.name, *map(str, arguments)]
        whole = {**self.environment, **environment}
        done = subprocess.run(command, env=whole, cwd=self.folder, capture_output=True, text=True, timeout=LIMIT_S)
        got = json.loads(self.record.read_text()) if self.record.exists() else {}
        return Run(done.returncode, done.stderr, got.get("arguments"), got.get("environment"))
