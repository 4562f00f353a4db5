"""What a device has: its size, and room for what kernels compute on the way."""

import functools
from typing import NamedTuple

import torch

from tgi_autoround.kernels.cuda import driver
from tgi_autoround.kernels.cuda.configuration import MAX_BLOCKS_TO_SPLIT, WORKSPACE_BYTES, Device


class Workspace(NamedTuple):
    """Room for intermediate values, and how many of each block's splits have arrived: one for all layers of a device.

    A device's products thus have to run one after the other, as those of one stream do.
    """

    room: torch.Tensor
    partial_sums: torch.Tensor
    arrivals: torch.Tensor


@functools.cache
def device_of(device: torch.device) -> Device:
    """Return the device's size; the interpreter runs one block at a time."""
    if device.type != "cuda":
        return Device(multiprocessors=1, shared_bytes=2**16)
    index = device.index if device.index is not None else torch.cuda.current_device()
    shared_bytes = driver.device_attribute(driver.MAX_SHARED_BYTES_OF_BLOCK, index)
    return Device(torch.cuda.get_device_properties(index).multi_processor_count, shared_bytes)


@functools.cache
def workspace(device: torch.device) -> Workspace:
    """Return the device's workspace, allocated once."""
    room = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
    return Workspace(room, room.view(torch.float32), torch.zeros(MAX_BLOCKS_TO_SPLIT, dtype=torch.int32, device=device))
