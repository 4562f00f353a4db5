"""From a layer's buffers and activations to a launch of one of the shipped Hopper kernels. Imports no triton."""

import functools
from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda import launch, launcher
from tgi_autoround.kernels.cuda.hopper.configuration import Choice, shipped_names
from tgi_autoround.kernels.cuda.hopper.shipped import FewRows
from tgi_autoround.kernels.cuda.launcher import Function
from tgi_autoround.kernels.cuda.layout import tiles_in

Buffers = Mapping[str, torch.Tensor]
_TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16"}


def multiply(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, choice: Choice) -> torch.Tensor:
    """Return `x @ weight + bias`: [rows, in_features] -> [rows, out_features] in x's dtype, by the chosen kernel.

    x: rows of adjacent features that begin at multiples of 16 bytes
    """
    shape, device = choice.shape, x.device
    function = load(choice, spec.scheme.bits, x.dtype, device)
    result = torch.empty(x.shape[0], spec.out_features, dtype=x.dtype, device=device)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        columns = -(-spec.out_features // shape.columns)
        grid: tuple[int, int, int]
        values: tuple[int | torch.Tensor, ...]
        if isinstance(shape, FewRows):
            grid, values = (columns, 1, 1), _few_rows(x, buffers, spec, result)
        else:
            blocks = columns * -(-x.shape[0] // shape.rows)
            grid = (-(-blocks * tiles_in(spec) // choice.share), 1, 1)
            values = _many_rows(x, buffers, spec, result, choice.share)
        function.launch(grid, values, launcher.current_stream(device.index))
    return result


def is_shipped(spec: LayerSpec, dtype: torch.dtype, capability: tuple[int, int]) -> bool:
    """Say whether the package holds the machine code for a layer that a Hopper kernel takes."""
    names = shipped_names(spec, _TYPES[dtype])
    return all(launcher.find_cubin(name, capability) is not None for name in names)


@functools.lru_cache(maxsize=1024)
def load(choice: Choice, bits: int, dtype: torch.dtype, device: torch.device) -> Function:
    """Return the chosen kernel, loaded once a device."""
    name = choice.shape.name(bits, choice.run, _TYPES[dtype])
    index = device.index if device.index is not None else torch.cuda.current_device()
    function = launcher.find(name, index)
    if function is None:
        raise KernelError(
            f"kernel {name}: the package does not hold it; build it by python -m tgi_autoround.kernels.cuda.aot"
        )
    return function


def _few_rows(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, result: torch.Tensor) -> tuple[int, ...]:
    zero_points, bias = buffers.get("zero_points"), buffers.get("bias")
    return (
        x.data_ptr(),
        buffers["lanes"].data_ptr(),
        buffers["scales"].data_ptr(),
        _address(zero_points),
        _address(bias),
        result.data_ptr(),
        x.shape[0],
        x.stride(0) * x.element_size(),
        spec.in_features,
        *_groups(spec),
        int(zero_points is not None),
        int(bias is not None),
    )


def _many_rows(
    x: torch.Tensor, buffers: Buffers, spec: LayerSpec, result: torch.Tensor, share: int
) -> tuple[int | torch.Tensor, ...]:
    zero_points, bias, space = buffers.get("zero_points"), buffers.get("bias"), launch.workspace(x.device)
    return (
        x,
        buffers["lanes"].view(torch.int32).view(-1, 16),
        buffers["scales"],
        # Without zero points, the kernel copies what it does not read.
        zero_points if zero_points is not None else buffers["scales"],
        _address(bias),
        result.data_ptr(),
        space.partial_sums.data_ptr(),
        space.arrivals.data_ptr(),
        x.shape[0],
        *_groups(spec),
        share,
        int(zero_points is not None),
        int(bias is not None),
    )


def _address(tensor: torch.Tensor | None) -> int:
    return tensor.data_ptr() if tensor is not None else 0


def _groups(spec: LayerSpec) -> tuple[int, int, int]:
    """Output features, by how many bits an input feature's number is shifted to get its group's, and tiles."""
    shift = 31 if spec.num_groups == 1 else spec.group_size.bit_length() - 1
    return spec.out_features, shift, tiles_in(spec)
