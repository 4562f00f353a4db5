"""The seam that a loader is written against; needs torch and safetensors."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open


class WeightsLoader(ABC):
    @abstractmethod
    def get_weights(self, weights, prefix): ...

    @abstractmethod
    def get_weights_col_packed(self, weights, prefix, block_sizes): ...

    def get_weights_col(self, weights, prefix):
        return weights.get_multi_weights_col([prefix], 0)

    @abstractmethod
    def get_multi_weights_col(self, weights, prefixes, dim): ...

    @abstractmethod
    def get_weights_row(self, weights, prefix): ...


class Weight(ABC):
    @abstractmethod
    def get_linear(self, bias): ...


@dataclass
class UnquantizedWeight(Weight):
    weight: torch.Tensor

    def get_linear(self, bias):
        linear = torch.nn.Linear(self.weight.shape[1], self.weight.shape[0], bias=bias is not None)
        linear.weight = torch.nn.Parameter(self.weight, requires_grad=False)
        if bias is not None:
            linear.bias = torch.nn.Parameter(bias, requires_grad=False)
        return linear


class DefaultWeightsLoader(WeightsLoader):
    def __init__(self, weight_class):
        self.weight_class = weight_class

    def get_weights(self, weights, prefix):
        return weights.get_tensor(f"{prefix}.weight")

    def get_weights_col_packed(self, weights, prefix, block_sizes):
        raise NotImplementedError

    def get_multi_weights_col(self, weights, prefixes, dim):
        shards = [weights.get_sharded(f"{prefix}.weight", dim=0) for prefix in prefixes]
        return self.weight_class(torch.cat(shards, dim=dim))

    def get_weights_row(self, weights, prefix):
        return self.weight_class(weights.get_sharded(f"{prefix}.weight", dim=1))


@dataclass
class ProcessGroup:
    own_rank: int
    ranks: int

    def rank(self):
        return self.own_rank

    def size(self):
        return self.ranks


class Weights:
    """Names are looked up as they are, with `prefix` before them, and by `aliases`."""

    def __init__(self, filenames, device, dtype, process_group, weights_loader, aliases=None, prefix=None):
        self.tensors = {}
        for filename in map(Path, filenames):
            with safe_open(filename, framework="pt") as file:
                self.tensors.update({name: (filename, file.get_tensor(name)) for name in file.keys()})  # noqa: SIM118
        self.device, self.dtype, self.process_group = device, dtype, process_group
        self.weights_loader = weights_loader
        self.aliases, self.prefix = aliases or {}, prefix

    @property
    def loader(self):
        return self.weights_loader

    def get_filename(self, tensor_name):
        for name in (tensor_name, f"{self.prefix}.{tensor_name}", *self.aliases.get(tensor_name, [])):
            if name in self.tensors:
                return str(self.tensors[name][0]), name
        raise RuntimeError(f"weight {tensor_name} does not exist")

    def has_tensor(self, tensor_name):
        try:
            self.get_filename(tensor_name)
        except RuntimeError:
            return False
        return True

    def get_tensor(self, tensor_name):
        _, name = self.get_filename(tensor_name)
        return self.tensors[name][1].to(self.device, self.dtype)

    def get_sharded(self, tensor_name, dim):
        whole = self.get_tensor(tensor_name)
        size = whole.shape[dim] // self.process_group.size()
        return whole.narrow(dim, self.process_group.rank() * size, size).contiguous()

    def get_weights(self, prefix):
        return self.weights_loader.get_weights(self, prefix)

    def get_weights_col_packed(self, prefix, block_sizes):
        return self.weights_loader.get_weights_col_packed(self, prefix, block_sizes)

    def get_weights_col(self, prefix):
        return self.weights_loader.get_weights_col(self, prefix)

    def get_multi_weights_col(self, prefixes, dim):
        return self.weights_loader.get_multi_weights_col(self, prefixes, dim)

    def get_multi_weights(self, prefixes, dim):
        return self.weights_loader.get_multi_weights(self, prefixes, dim)

    def get_weights_row(self, prefix):
        return self.weights_loader.get_weights_row(self, prefix)
