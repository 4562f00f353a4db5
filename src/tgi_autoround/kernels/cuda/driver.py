"""The CUDA driver's own interface by ctypes: all that it takes to load machine code and to launch it."""

import ctypes
import functools
from typing import Any

from tgi_autoround.errors import KernelError

INVALID_CONTEXT = 201
MAX_SHARED_BYTES_OF_BLOCK = 97
_DYNAMIC_SHARED_BYTES = 8
_PREFER_SHARED_MEMORY = 1
_SHARED_BYTES_WITHOUT_ASKING = 48 * 1024

_MEANING_OF_CODE = {
    2: "the GPU's memory is full; leave more of it free",
    100: "no GPU can be seen; check that the container was started with one",
    200: "the machine code is not what the GPU's driver reads; install the package again",
    INVALID_CONTEXT: "the thread has no GPU; import torch and use it on the GPU first",
    209: "there is no machine code for this GPU",
    222: "the driver is older than the machine code; install a newer one",
    400: "an argument does not belong to this GPU",
    500: "the machine code has no such kernel; install the package again",
    700: "a kernel before this one read or wrote memory that is not its own; restart the server",
    701: "the kernel asks for more registers or shared memory than the GPU has left",
    719: "a kernel before this one failed; restart the server",
}


@functools.cache
def library() -> Any:
    """Return libcuda; raises KernelError where this machine has none."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise KernelError(
            f"libcuda.so.1, which NVIDIA's driver brings, cannot be loaded: {error}; install the driver, or start the "
            "container with --gpus"
        ) from error


def check(code: int, doing: str) -> None:
    """Raise KernelError with a sentence where `code`, which a call returned, is one of failure."""
    if code:
        raise KernelError(f"{doing}: the CUDA driver answers {_name_of(code)}: {_meaning_of(code)}")


@functools.cache
def version() -> int:
    """Return the newest CUDA that the driver knows, as it counts: 12040 is 12.4."""
    found = ctypes.c_int()
    check(library().cuDriverGetVersion(ctypes.byref(found)), "asking for the driver's version")
    return found.value


def device_attribute(attribute: int, device: int) -> int:
    """Return an attribute of a device, both by number."""
    found = ctypes.c_int()
    check(library().cuInit(0), "starting the CUDA driver")
    code = library().cuDeviceGetAttribute(ctypes.byref(found), attribute, device)
    check(code, f"asking for attribute {attribute} of GPU {device}")
    return found.value


def use_context_of(device: int) -> None:
    """Make a device's primary context, which is torch's, current in this thread."""
    context = ctypes.c_void_p()
    check(library().cuDevicePrimaryCtxRetain(ctypes.byref(context), device), f"using GPU {device}")
    check(library().cuCtxSetCurrent(context), f"using GPU {device}")


def load_function(image: bytes, symbol: str, shared_bytes: int, name: str) -> int:
    """Load machine code into the current context; return the handle of its kernel `symbol`. It is never unloaded."""
    doing = f"loading the kernel {name}"
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    check(library().cuModuleLoadData(ctypes.byref(module), image), doing)
    check(library().cuModuleGetFunction(ctypes.byref(function), module, symbol.encode()), doing)
    if shared_bytes > _SHARED_BYTES_WITHOUT_ASKING:
        doing += f", which needs {shared_bytes} bytes of shared memory"
        check(library().cuFuncSetCacheConfig(function, _PREFER_SHARED_MEMORY), doing)
        check(library().cuFuncSetAttribute(function, _DYNAMIC_SHARED_BYTES, shared_bytes), doing)
    return int(function.value or 0)


def _name_of(code: int) -> str:
    text = ctypes.c_char_p()
    if library().cuGetErrorName(code, ctypes.byref(text)) or text.value is None:
        return f"error {code}"
    return f"{text.value.decode()} ({code})"


def _meaning_of(code: int) -> str:
    if code in _MEANING_OF_CODE:
        return _MEANING_OF_CODE[code]
    text = ctypes.c_char_p()
    if library().cuGetErrorString(code, ctypes.byref(text)) or text.value is None:
        return "it does not say why"
    return text.value.decode()
