"""A folder of machine code and its manifest, brought up to date: what is there and made from the same is kept."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda import manifest
from tgi_autoround.kernels.cuda.aot.compiler import compile_ahead, compilers, made_from, use_ptxas_of_cuda_12
from tgi_autoround.kernels.cuda.manifest import Cubin
from tgi_autoround.kernels.cuda.specialization import Specialization

_KEPT_AT_ONCE = 20
"""So many kernels later, an interrupted build goes on from where it was."""


def build(specializations: Iterable[Specialization], folder: Path, jobs: int, say: Callable[[str], None]) -> None:
    """Compile what `folder` lacks, in `jobs` processes; delete what it has too much; write the manifest."""
    use_ptxas_of_cuda_12()
    wanted = _by_file(specializations)
    folder.mkdir(parents=True, exist_ok=True)
    cubins = _still_valid(wanted, folder)
    missing = [each for file, each in wanted.items() if file not in cubins]
    say(f"{len(cubins)} kernels are up to date, {len(missing)} are compiled by {compilers()}")
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), use_ptxas_of_cuda_12) as pool:
        for done, future in enumerate(as_completed(pool.submit(_compile_into, folder, each) for each in missing), 1):
            cubin = future.result()
            cubins[cubin.file] = cubin
            if done % _KEPT_AT_ONCE == 0:
                _write_manifest(cubins, folder)
                say(f"{done} of {len(missing)}")
    for stale in set(folder.glob("*.cubin")) - {folder / file for file in cubins}:
        stale.unlink()
    _write_manifest(cubins, folder)
    say(f"{len(cubins)} kernels, {sum((folder / file).stat().st_size for file in cubins) / 1e6:.1f} MB")


def _by_file(specializations: Iterable[Specialization]) -> dict[str, Specialization]:
    found = list(specializations)
    twice = [file for file, count in Counter(each.file_name for each in found).items() if count > 1]
    if twice:
        raise KernelError(f"two specializations have the same name: {', '.join(twice)}; make the names differ")
    return {each.file_name: each for each in found}


def _still_valid(wanted: dict[str, Specialization], folder: Path) -> dict[str, Cubin]:
    kept = {}
    for cubin in manifest.read(folder).values():
        if cubin.file not in wanted or made_from(wanted[cubin.file]) != cubin.made_from:
            continue
        cubin.image(folder)
        kept[cubin.file] = cubin
    return kept


def _write_manifest(cubins: dict[str, Cubin], folder: Path) -> None:
    manifest.write([cubins[file] for file in sorted(cubins)], compilers(), folder)


def _compile_into(folder: Path, specialization: Specialization) -> Cubin:
    compiled = compile_ahead(specialization)
    part = folder / f"{compiled.cubin.file}.part"
    part.write_bytes(compiled.image)
    part.replace(folder / compiled.cubin.file)
    return compiled.cubin
