"""Put QLinear into a transformers model without ever holding its floating-point weights.

    checkpoint = open_checkpoint(model_dir)
    model = build_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32)

The model's code is built with parameters on the meta device, quantized linears are replaced by QLinear one layer at a
time, and the tensors that stay in floating point are read last. A tensor too many or too few is an error.
"""

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from tgi_autoround.allocator import returning_large_blocks
from tgi_autoround.checkpoint import Checkpoint, LayerSpec
from tgi_autoround.composite import FusedLinear, grouped, side_by_side
from tgi_autoround.errors import CheckpointError, UnsupportedError
from tgi_autoround.experts import separate_experts
from tgi_autoround.kernels import KERNELS, Kernel
from tgi_autoround.linear import QLinear
from tgi_autoround.names import TensorNames

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

IGNORED_TENSORS = (r"rotary_emb\.inv_freq$",)
"""Tables that old transformers wrote into files and every version computes anew."""
NOTHING = "(?!)"
"""The pattern that no name matches."""


def build_model(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    exact: bool = False,
    kernels: tuple[Kernel, ...] = KERNELS,
    trust_remote_code: bool = False,
    config: "PretrainedConfig | None" = None,
    fuse: Callable[["PreTrainedModel"], Iterable[FusedLinear]] = lambda _model: (),
) -> "PreTrainedModel":
    """Return the checkpoint's causal language model, ready to run on `device` with activations of `dtype`.

    Each layer runs on the first of `kernels` that takes it; `exact` keeps to those that round no activations. `config`
    stands in for the checkpoint's own where this transformers does not read the file as it was meant. What `fuse` names
    of the model, which has no weights yet, is loaded as one layer where all its parts are quantized; the parts are gone
    then, so the caller brings a forward of its own.
    Raises CheckpointError where the tensors do not fit the architecture, UnsupportedError where no kernel takes a
    layer.
    """
    model = _model_on_meta(checkpoint, config, dtype, trust_remote_code=trust_remote_code)
    names = TensorNames(model)
    separate_experts(model, map(names.in_model, checkpoint.file_of))
    paths = _quantized_paths(model, checkpoint, names)
    with returning_large_blocks():
        for layer in grouped(paths, fuse(model)):
            weights = (checkpoint.load_layer(paths[part], device) for part in layer.parts)
            module = side_by_side(weights, device, dtype, exact=exact, kernels=kernels)
            _put(model, layer, module)
    _log_kernels(model)
    _check_unquantized_linears(model, checkpoint)
    _load_plain_tensors(model, checkpoint, names, device, dtype)
    return model.eval()


def _model_on_meta(
    checkpoint: Checkpoint, config: "PretrainedConfig | None", dtype: torch.dtype, *, trust_remote_code: bool
) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        if config is None:
            config = AutoConfig.from_pretrained(checkpoint.model_dir, trust_remote_code=trust_remote_code)
        with _parameters_on_meta():
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=trust_remote_code, **_named(dtype)
            )
    except (ValueError, KeyError, ImportError) as error:
        raise UnsupportedError(f"{checkpoint.model_dir}: transformers cannot build this model: {error}") from error
    return model


def _named(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The argument that transformers calls `dtype` since 4.56 and `torch_dtype` before."""
    from transformers import __version__

    major, minor = map(int, __version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (4, 56) else "torch_dtype": dtype}


@contextlib.contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Create parameters without memory, and buffers (rotary tables, masks), which no file holds, with their values."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _quantized_paths(model: nn.Module, checkpoint: Checkpoint, names: TensorNames) -> dict[str, str]:
    """Return the file's names of all quantized layers by their places in the model."""
    paths = {}
    for name, spec in checkpoint.quantized_layers.items():
        path = names.in_model(f"{name}.weight").removesuffix(".weight")
        _check_place(model, name, path, spec)
        paths[path] = name
    return paths


def _put(model: nn.Module, layer: FusedLinear, module: nn.Module) -> None:
    """Give the model a layer in place of its parts."""
    for part in set(layer.parts) - {layer.path}:
        parent, _, attribute = part.rpartition(".")
        delattr(model.get_submodule(parent), attribute)
    parent, _, attribute = layer.path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def _log_kernels(model: nn.Module) -> None:
    layers_of = Counter(module.kernel.name for module in model.modules() if isinstance(module, QLinear))
    for kernel_name, layers in layers_of.items():
        logger.info("%d quantized layers run on kernel %s", layers, kernel_name)


def _check_place(model: nn.Module, name: str, path: str, spec: LayerSpec) -> None:
    try:
        linear = model.get_submodule(path)
    except AttributeError as error:
        raise CheckpointError(
            f"layer {name}: the file holds it, but {type(model).__name__} has no such module; "
            "config.json names another architecture"
        ) from error
    wanted = _features(linear)
    if wanted is None:
        raise UnsupportedError(f"layer {name}: a {type(linear).__name__} cannot be served quantized yet")
    if wanted != (spec.in_features, spec.out_features):
        raise CheckpointError(
            f"layer {name}: {spec} does not fit {type(model).__name__}, which wants "
            f"[{wanted[0]} -> {wanted[1]}]; config.json and the files are not from the same job"
        )


def _features(module: nn.Module) -> tuple[int, int] | None:
    """in_features and out_features of a linear, GPT-2's transposed Conv1D included; None for other modules."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        in_features, out_features = module.weight.shape  # older Conv1Ds have no `nx`
        return in_features, out_features
    return None


def _check_unquantized_linears(model: nn.Module, checkpoint: Checkpoint) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            checkpoint.check_unquantized(name)


def _load_plain_tensors(
    model: "PreTrainedModel", checkpoint: Checkpoint, names: TensorNames, device: torch.device, dtype: torch.dtype
) -> None:
    places = _places(model)
    kept = _kept_in_float32(model, dtype)
    loaded: dict[str, torch.Tensor] = {}
    ignored = re.compile("|".join((*IGNORED_TENSORS, *(model._keys_to_ignore_on_load_unexpected or ()))))
    for name in checkpoint.plain_tensors:
        path = names.in_model(name)
        if path not in places:
            if ignored.search(name):
                continue
            raise CheckpointError(f"tensor {name!r}: {type(model).__name__} has no place for it")
        tensor = checkpoint.read_tensor(name)
        if tensor.shape != places[path].shape:
            raise CheckpointError(
                f"tensor {name!r} has shape {list(tensor.shape)}; "
                f"{type(model).__name__} wants {list(places[path].shape)}"
            )
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32 if kept.search(path) else places[path].dtype)
        loaded[path] = _assign(model, path, tensor.to(device))
    model.tie_weights()
    tied_places = _places(model)
    _check_ties(tied_places, loaded)
    _check_complete(model, tied_places, checkpoint, loaded)
    model.to(device)


def _kept_in_float32(model: "PreTrainedModel", dtype: torch.dtype) -> re.Pattern[str]:
    """Return what finds the names of tensors that the model's code wants in float32 although it runs in `dtype`.

    As transformers 5.23 reads its two lists (modeling_utils.py, _get_dtype_plan): one is for float16 alone.
    """
    names: set[str] = set()
    if dtype in (torch.float16, torch.bfloat16):
        names.update(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16:
        names.update(model._keep_in_fp32_modules or ())
    return re.compile("|".join(sorted(name.replace("*", ".*") for name in names)) or NOTHING)


def _check_ties(places: Mapping[str, torch.Tensor], loaded: Mapping[str, torch.Tensor]) -> None:
    """A tensor that the config ties to another is overwritten by it, which must not change it."""
    for path, tensor in loaded.items():
        if places[path] is not tensor and not torch.equal(places[path], tensor):
            raise CheckpointError(
                f"tensor {path!r} differs from the one that config.json ties it to; "
                "if it is right, set tie_word_embeddings to false there"
            )


def _check_complete(
    model: "PreTrainedModel",
    places: Mapping[str, torch.Tensor],
    checkpoint: Checkpoint,
    loaded: Mapping[str, torch.Tensor],
) -> None:
    """Nothing may keep its initial value, but what transformers itself computes anew."""
    computed = re.compile("|".join((*IGNORED_TENSORS, *(model._keys_to_ignore_on_load_missing or ()))))
    missing = [
        name
        for name, place in places.items()
        if place.is_meta or (not isinstance(place, nn.Parameter) and name not in loaded and not computed.search(name))
    ]
    if missing:
        raise CheckpointError(f"{checkpoint.model_dir}: no tensors for {', '.join(missing[:5])}; it is incomplete")


def _places(model: nn.Module) -> Mapping[str, torch.Tensor]:
    """Every parameter, and the buffers that belong into files."""
    stored = model.state_dict()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in stored}
    return {**dict(model.named_parameters(remove_duplicate=False)), **buffers}


def _assign(model: nn.Module, path: str, tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor into its place and return what stands there then."""
    module_name, _, attribute = path.rpartition(".")
    module = model.get_submodule(module_name)
    if attribute in module._parameters:
        tensor = nn.Parameter(tensor, requires_grad=False)
    setattr(module, attribute, tensor)
    return tensor
