"""The hidden directory beside OUT where a job works, so that OUT itself only ever changes by a rename."""

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.config import QuantizeConfig
from tgi_autoround.quantize.source import SourceModel

if TYPE_CHECKING:
    import torch

SIGNATURE_FILE = "signature"
TUNED_FILE = ".tuned"
WORLD_READABLE_FILE = 0o644
WORLD_READABLE_DIRECTORY = 0o755
# linux/fcntl.h and linux/fs.h; Python's os.rename has no such flag.
AT_FDCWD = -100
RENAME_EXCHANGE = 2


@dataclass(frozen=True)
class Workspace:
    """Where one job keeps what: `tuned` is auto-round's output, `resume` its state, `result` what will be OUT."""

    output_dir: Path

    @property
    def root(self) -> Path:
        return self.output_dir.with_name(f".{self.output_dir.name}.quantizing")

    @property
    def tuned(self) -> Path:
        return self.root / "tuned"

    @property
    def resume(self) -> Path:
        return self.root / "resume"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def result(self) -> Path:
        return self.root / "result"

    @property
    def replaced(self) -> Path:
        return self.root / "replaced"

    @property
    def log_file(self) -> Path:
        return self.output_dir.with_name(f"{self.output_dir.name}.log.jsonl")

    def prepare(self, signature: str, *, blocks: int, resume: bool) -> bool:
        """Make the directory ready for a job of that many blocks, and return whether one begun earlier goes on.

        Raises QuantizeError where the earlier job was another one, or its finished blocks would be thrown away.
        """
        recorded = self.root / SIGNATURE_FILE
        finished = self.finished_blocks()
        if not resume and (finished or self.tuned_model()):
            raise QuantizeError(
                f"an earlier job for this OUT stopped after {finished or blocks} blocks; "
                f"continue it with --resume, or delete {self.root}"
            )
        # auto-round 0.16.1 cannot resume after the last block (compressors/orchestrator.py indexes the one behind it).
        goes_on = resume and (self.tuned_model() is not None or 0 < finished < blocks)
        if goes_on and recorded.read_text(encoding="ascii") != signature:
            raise QuantizeError(
                f"--resume: the unfinished job in {self.root} had other options, another model or other calibration "
                "data; repeat its options, or delete that directory"
            )
        for directory in (self.result, self.scratch, *(() if goes_on else (self.tuned, self.resume))):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        recorded.write_text(signature, encoding="ascii")
        return goes_on

    def tuned_model(self) -> Path | None:
        """Return auto-round's finished model, where the job got that far."""
        return next((path.parent for path in self.tuned.glob(f"*/{TUNED_FILE}")), None)

    def mark_tuned(self, model_dir: Path) -> None:
        """Record that auto-round has finished, so that a failure afterwards does not cost the tuning."""
        (model_dir / TUNED_FILE).touch()

    def finished_blocks(self) -> int:
        """Return how many blocks an unfinished job has tuned and written."""
        manifests = self.resume.glob("*/resume_manifest.json")
        return sum(len(json.loads(path.read_text(encoding="utf-8"))["completed_blocks"]) for path in manifests)

    def publish(self, *, overwrite: bool) -> None:
        """Put the result in OUT's place: on disk first, renamed last, so that a kill leaves a whole OUT."""
        replaces = self.output_dir.is_dir() and any(self.output_dir.iterdir())
        if replaces and not overwrite:
            raise QuantizeError(f"{self.output_dir} was made by someone else meanwhile; the result is in {self.result}")
        for path in [*self.result.rglob("*"), self.result]:
            path.chmod(WORLD_READABLE_DIRECTORY if path.is_dir() else WORLD_READABLE_FILE)
            _fsync(path)
        if not replaces or not _exchange(self.result, self.output_dir):
            if replaces:
                self.output_dir.rename(self.replaced)
            self.result.rename(self.output_dir)
        _fsync(self.output_dir.parent)
        shutil.rmtree(self.root)

    def restore(self) -> None:
        """Undo a swap that was cut between its two renames, on a file system that has no exchange."""
        if self.replaced.exists() and not self.output_dir.exists():
            self.replaced.rename(self.output_dir)
        shutil.rmtree(self.replaced, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one job at a time. Raises QuantizeError while another job works for the same OUT."""
        self.root.mkdir(exist_ok=True)
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise QuantizeError(
                f"another job is writing {self.output_dir}; wait for it, or choose another OUT"
            ) from error
        else:
            yield from self._kept_if_resumable()
        finally:
            os.close(descriptor)

    def _kept_if_resumable(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.restore()
            if self.finished_blocks() == 0 and self.tuned_model() is None:
                shutil.rmtree(self.root)
            raise


def signature_of(config: QuantizeConfig, source: SourceModel, samples: "torch.Tensor | None") -> str:
    """Return a digest of everything that the tuned blocks depend on."""
    what = {
        "scheme": asdict(config.scheme),
        "layer_config": dict(config.layer_config),
        "tuning": asdict(config.tuning),
        "format": config.format,
        "device": config.device,
        "files": sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in _weight_files(source)),
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    if samples is not None:
        digest.update(samples.numpy().tobytes())
    return digest.hexdigest()


def _weight_files(source: SourceModel) -> set[Path]:
    return set(source.checkpoint.file_of.values())


def _exchange(one: Path, other: Path) -> bool:
    """Swap two directories in one step, and return whether this file system can (NFS, for one, cannot)."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE)
    return bool(result == 0)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
