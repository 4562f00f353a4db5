"""From a layer's buffers and activations to a launch of one of the shipped Hopper kernels. Imports no triton."""

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.errors import KernelError
from tgi_autoround.kernels.cuda import launcher
from tgi_autoround.kernels.cuda.hopper.configuration import Choice, shipped_names
from tgi_autoround.kernels.cuda.hopper.shipped import FewRows
from tgi_autoround.kernels.cuda.launcher import Function
from tgi_autoround.kernels.cuda.layout import LANES_IN_TILE, tiles_in, zero_point_type
from tgi_autoround.kernels.cuda.plan import Activations, Buffers
from tgi_autoround.kernels.cuda.tensor_map import Layout
from tgi_autoround.kernels.cuda.workspace import workspace

_TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16"}


def multiply(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, choice: Choice) -> torch.Tensor:
    """Return `x @ weight + bias`: [rows, in_features] -> [rows, out_features] in x's dtype, by the chosen kernel.

    x: rows of adjacent features that begin at multiples of 16 bytes
    """
    return plan(Activations.of(x), spec, choice)(x, buffers)


def plan(x: Activations, spec: LayerSpec, choice: Choice) -> "PlanOfFewRows | PlanOfManyRows":
    """Return launches of the chosen kernel for activations of one shape and layers of one kind."""
    is_for_few = isinstance(choice.shape, FewRows)
    return PlanOfFewRows(x, spec, choice) if is_for_few else PlanOfManyRows(x, spec, choice)


class PlanOfFewRows:
    """Launches of `decode.py`, all but the addresses."""

    def __init__(self, x: Activations, spec: LayerSpec, choice: Choice) -> None:
        self._function = load(choice, spec.scheme.bits, x.dtype, x.device)
        self._shape = (x.rows, spec.out_features)
        self._grid = (-(-spec.out_features // choice.shape.columns), 1, 1)
        self._numbers = (
            x.rows,
            x.x_stride * x.dtype.itemsize,
            spec.in_features,
            *_groups(spec),
            int(not spec.scheme.sym),
            int(spec.has_bias),
        )

    def __call__(self, x: torch.Tensor, buffers: Buffers) -> torch.Tensor:
        """Queue a product; return its result, [rows, out_features]."""
        result = x.new_empty(self._shape)
        values = (
            x.data_ptr(),
            buffers["lanes"].data_ptr(),
            buffers["scales"].data_ptr(),
            _address(buffers.get("zero_points")),
            _address(buffers.get("bias")),
            result.data_ptr(),
            *self._numbers,
        )
        self._function.queue(self._grid, values)
        return result


class PlanOfManyRows:
    """Launches of `prefill.py`, all but the addresses. Activations, weights and groups are read by the copy engine."""

    def __init__(self, x: Activations, spec: LayerSpec, choice: Choice) -> None:
        blocks = -(-spec.out_features // choice.shape.columns) * -(-x.rows // choice.shape.rows)
        space = workspace(x.device)
        self._function = load(choice, spec.scheme.bits, x.dtype, x.device)
        self._shape = (x.rows, spec.out_features)
        self._grid = (-(-blocks * tiles_in(spec) // choice.share), 1, 1)
        self._layouts = _layouts(x, spec)
        self._of_matrices = tuple(number for each in self._layouts for number in (*each.shape, *each.strides))
        self._of_workspace = (space.partial_sums.data_ptr(), space.arrivals.data_ptr())
        self._numbers = (x.rows, *_groups(spec), choice.share, int(not spec.scheme.sym), int(spec.has_bias))

    def __call__(self, x: torch.Tensor, buffers: Buffers) -> torch.Tensor:
        """Queue a product; return its result, [rows, out_features]."""
        result, scales = x.new_empty(self._shape), buffers["scales"]
        # Without zero points, the kernel copies what it does not read.
        zero_points = buffers.get("zero_points", scales)
        addresses = (x.data_ptr(), buffers["lanes"].data_ptr(), scales.data_ptr(), zero_points.data_ptr())
        values = (
            *self._of_matrices,
            _address(buffers.get("bias")),
            result.data_ptr(),
            *self._of_workspace,
            *self._numbers,
        )
        self._function.queue(self._grid, values, tuple(zip(addresses, self._layouts, strict=True)))
        return result


def is_shipped(spec: LayerSpec, dtype: torch.dtype, capability: tuple[int, int]) -> bool:
    """Say whether the package holds the machine code for a layer that a Hopper kernel takes."""
    names = shipped_names(spec, _TYPES[dtype])
    return all(launcher.find_cubin(name, capability) is not None for name in names)


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


def _layouts(x: Activations, spec: LayerSpec) -> tuple[Layout, Layout, Layout, Layout]:
    """Return how activations, lanes in words of 32 bits, scales and zero points lie."""
    words, out_features = LANES_IN_TILE // 2, spec.out_features
    scales = Layout((spec.num_groups, out_features), (out_features, 1), torch.float16.itemsize)
    zero_points = scales if spec.scheme.sym else scales._replace(element_bytes=zero_point_type(spec).itemsize)
    return (
        Layout((x.rows, spec.in_features), (x.x_stride, 1), x.dtype.itemsize),
        Layout((tiles_in(spec) * out_features, words), (words, 1), torch.int32.itemsize),
        scales,
        zero_points,
    )


def _address(tensor: torch.Tensor | None) -> int:
    return tensor.data_ptr() if tensor is not None else 0


def _groups(spec: LayerSpec) -> tuple[int, int, int]:
    """Output features, by how many bits an input feature's number is shifted to get its group's, and tiles."""
    shift = 31 if spec.num_groups == 1 else spec.group_size.bit_length() - 1
    return spec.out_features, shift, tiles_in(spec)
