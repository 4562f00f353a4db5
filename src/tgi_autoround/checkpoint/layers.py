"""The tensors of one quantized layer and what the config says of it -> LayerSpec."""

from collections.abc import Mapping

from tgi_autoround.checkpoint.header import StoredTensor
from tgi_autoround.checkpoint.json_files import show
from tgi_autoround.checkpoint.spec import LayerSpec, Packing, QuantScheme
from tgi_autoround.errors import CheckpointError

QUANTIZED_TENSORS = ("qweight", "qzeros", "scales")
OPTIONAL_TENSORS = ("bias", "g_idx")
WORD_BITS = 32
DTYPES_OF = {
    "qweight": ("I32",),
    "qzeros": ("I32",),
    "scales": ("F16",),
    "bias": ("F16", "BF16", "F32"),
    "g_idx": ("I32",),
}


def layer_parts(tensors: Mapping[str, StoredTensor]) -> dict[str, dict[str, StoredTensor]]:
    """Return the tensors of every module that has a `qweight`, by module name and by the last part of their names."""
    layers: dict[str, dict[str, StoredTensor]] = {
        name.removesuffix(".qweight"): {} for name in tensors if name.endswith(".qweight")
    }
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if layer in layers:
            layers[layer][part] = tensor
        elif part in ("qzeros", "g_idx"):
            raise CheckpointError(f"layer {layer}: there is {part}, but no qweight; the checkpoint is incomplete")
    return layers


def layer_spec(name: str, scheme: QuantScheme, parts: Mapping[str, StoredTensor]) -> LayerSpec:
    """Return the spec of a layer. Raises CheckpointError where its tensors and its scheme disagree."""
    _check_parts(name, parts)
    spec = _from_qweight(name, scheme, parts["qweight"].shape, has_bias="bias" in parts)
    shapes = {part: tensor.shape for part, tensor in parts.items()}
    expected = {part: shape for part, shape in _expected_shapes(spec).items() if part in parts}
    if shapes != expected:
        part = next(part for part in expected if shapes[part] != expected[part])
        raise CheckpointError(
            f"layer {name}: {spec}: {part} has shape {show(shapes[part])}, but the config asks for "
            f"{show(expected[part])}; bits, group_size or packing in config.json do not fit the file"
        )
    return spec


def _check_parts(name: str, parts: Mapping[str, StoredTensor]) -> None:
    for part in QUANTIZED_TENSORS:
        if part not in parts:
            raise CheckpointError(f"layer {name}: tensor '{name}.{part}' is missing; the checkpoint is incomplete")
    surplus = sorted(parts.keys() - {*QUANTIZED_TENSORS, *OPTIONAL_TENSORS})
    if surplus:
        raise CheckpointError(
            f"layer {name}: beside packed integers the file holds {', '.join(surplus[:5])}, so that it is unclear what "
            "the layer is; the files are of two jobs or of a format that is not read, quantize the model again"
        )
    for part, tensor in parts.items():
        if tensor.dtype not in DTYPES_OF[part]:
            raise CheckpointError(
                f"layer {name}: {part} is of type {tensor.dtype}; expected {' or '.join(DTYPES_OF[part])}"
            )


def _from_qweight(name: str, scheme: QuantScheme, shape: tuple[int, ...], *, has_bias: bool) -> LayerSpec:
    """Derive in_features and out_features, as `packing.py` draws them."""
    if len(shape) != 2 or 0 in shape:
        raise CheckpointError(f"layer {name}: qweight has shape {show(shape)}; expected two dimensions above 0")
    rows, columns = shape
    if scheme.packing is Packing.AWQ:
        return LayerSpec(name, scheme, rows, columns * WORD_BITS // scheme.bits, has_bias)
    spec = LayerSpec(name, scheme, rows * WORD_BITS // scheme.bits, columns, has_bias)
    if spec.out_features * scheme.bits % WORD_BITS or spec.in_features * scheme.bits % WORD_BITS:
        raise CheckpointError(
            f"layer {name}: {spec}: {scheme.bits}-bit codes do not fill the {WORD_BITS}-bit words of qweight "
            f"{show(shape)} and its zero points; bits in config.json do not fit the file"
        )
    return spec


def _expected_shapes(spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    bits, k, n = spec.scheme.bits, spec.in_features, spec.out_features
    return {
        "qweight": (k, n * bits // WORD_BITS) if spec.scheme.packing is Packing.AWQ else (k * bits // WORD_BITS, n),
        "qzeros": (spec.num_groups, n * bits // WORD_BITS),
        "scales": (spec.num_groups, n),
        "bias": (n,),
        "g_idx": (k,),
    }
