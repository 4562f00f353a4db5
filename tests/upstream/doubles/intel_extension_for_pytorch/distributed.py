"""Collectives over gloo."""

import torch
from torch.distributed import all_gather, all_reduce

__all__ = ["all_gather", "all_gather_into_tensor", "all_reduce", "init_process_group"]


def init_process_group(backend: str, *, world_size: int, rank: int, timeout: object, **_: object) -> None:
    torch.distributed.init_process_group("gloo", world_size=world_size, rank=rank, timeout=timeout)


def all_gather_into_tensor(output: torch.Tensor, input: torch.Tensor, group: object) -> None:
    """Gather flat, as NCCL does; gloo by itself splits along the first dimension."""
    torch.distributed.all_gather_into_tensor(output.view(-1), input.reshape(-1), group=group)
