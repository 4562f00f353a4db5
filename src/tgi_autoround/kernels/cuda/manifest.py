"""The manifest of the machine code that the package ships: what each file is, and how its kernel is launched."""

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tgi_autoround.errors import KernelError

CUBINS = Path(__file__).parent / "cubins"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class TensorMap:
    """How the copy engine reads a tensor argument, in the driver's terms (cuTensorMapEncodeTiled).

    element_type, swizzle: the driver's enumerations
    block: elements of one copy, outermost dimension first
    """

    element_type: int
    swizzle: int
    block: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a launch: its name, triton's type ("*bf16", "i32", "tensordesc"), and the map of a tensordesc."""

    name: str
    type: str
    tensor_map: TensorMap | None = None


@dataclass(frozen=True, slots=True)
class Cubin:
    """One file of machine code.

    symbol: the kernel's name in it
    minimum_driver: the oldest CUDA that the driver must know, as the driver counts: 12000 is 12.0
    threads: of a block
    made_from: a hash of source, options and compilers
    """

    name: str
    architecture: str
    file: str
    sha256: str
    symbol: str
    minimum_driver: int
    shared_bytes: int
    warps: int
    arguments: tuple[Argument, ...]
    constants: dict[str, Any]
    made_from: str

    def image(self, folder: Path = CUBINS) -> bytes:
        """Return the machine code; raises KernelError where the file is not the one that the manifest means."""
        try:
            image = (folder / self.file).read_bytes()
        except OSError as error:
            raise KernelError(f"kernel {self.name}: {error}; install the package again") from error
        if hashlib.sha256(image).hexdigest() != self.sha256:
            raise KernelError(
                f"kernel {self.name}: {folder / self.file} does not have the sha256 of the manifest; the file is "
                "damaged or of another release, install the package again"
            )
        return image


def read(folder: Path = CUBINS) -> dict[tuple[str, str], Cubin]:
    """Return what is shipped by (architecture, name): nothing where the package was built without machine code."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        cubins = [_cubin(entry) for entry in json.loads(path.read_text(encoding="utf-8"))["cubins"]]
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError(f"{path} cannot be read: {error}; install the package again") from error
    return {(cubin.architecture, cubin.name): cubin for cubin in cubins}


@functools.cache
def shipped() -> dict[tuple[str, str], Cubin]:
    """Return what this installation ships, read once."""
    return read()


def write(cubins: list[Cubin], compilers: dict[str, str], folder: Path = CUBINS) -> None:
    """Write the manifest of what lies in `folder`."""
    content = {"compilers": compilers, "cubins": [asdict(cubin) for cubin in cubins]}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _cubin(entry: dict[str, Any]) -> Cubin:
    arguments = tuple(_argument(**argument) for argument in entry.pop("arguments"))
    return Cubin(**entry, arguments=arguments)


def _argument(name: str, type: str, tensor_map: dict[str, Any] | None) -> Argument:
    if tensor_map is None:
        return Argument(name, type)
    block = tuple(tensor_map.pop("block"))
    return Argument(name, type, TensorMap(**tensor_map, block=block))
