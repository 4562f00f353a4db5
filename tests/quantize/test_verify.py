"""The check of a result accepts what AutoRound may write and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.quantize.conftest import RunQuantize
from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme, open_checkpoint
from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.config import LayerScheme, QuantizeConfig, TuningConfig
from tgi_autoround.quantize.plan import make_plan
from tgi_autoround.quantize.source import open_source
from tgi_autoround.quantize.verify import bound_of, check_layer, verify

OUT_FEATURES, IN_FEATURES, GROUP = 64, 160, 64  # the last group is short
ROUNDED = TuningConfig(iters=0)
TUNED = TuningConfig(iters=200)
PLANNED = LayerScheme()


def rounded(weight: torch.Tensor, bits: int, *, sym: bool, shrink: float = 1.0, offset: float = 0.0) -> NormalForm:
    """Round a weight [out, in] to the nearest code, group by group, as AutoRound's formulas say."""
    levels, codes, zeros, scales = 2**bits - 1, [], [], []
    for group in weight.split(GROUP, dim=1):
        low, high = group.amin(1).clamp(max=0) * shrink, group.amax(1).clamp(min=0) * shrink
        if sym:
            extreme = torch.where(high > -low, -high, -low)
            scale, zero = (extreme / 2 ** (bits - 1)).half(), torch.full_like(low, 2 ** (bits - 1))
        else:
            scale = ((high - low) / levels).half()
            zero = torch.round(-low / scale.float())
        code = torch.round(group / scale.float()[:, None] + offset) + zero[:, None]
        codes.append(code.clamp(0, levels))
        zeros.append(zero)
        scales.append(scale)
    spec = LayerSpec("layer", QuantScheme(bits, GROUP, sym, Packing.GPTQ), IN_FEATURES, OUT_FEATURES, False)
    return NormalForm(
        spec,
        torch.cat(codes, dim=1).t().to(torch.uint8),
        torch.stack(zeros).to(torch.int16),
        torch.stack(scales),
        None,
    )


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(OUT_FEATURES, IN_FEATURES, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sym", [True, False])
def test_round_to_nearest_is_accepted(weight: torch.Tensor, bits: int, sym: bool) -> None:
    found = check_layer(rounded(weight, bits, sym=sym), weight, bound_of(ROUNDED, bits))
    assert found.code_steps <= 0.5 + 2 ** (bits - 10)
    assert found.least_coverage == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("sym", [True, False])
def test_the_offsets_and_ranges_that_200_iterations_reach_are_accepted(weight: torch.Tensor, sym: bool) -> None:
    check_layer(rounded(weight, 4, sym=sym, shrink=0.55, offset=0.49), weight, bound_of(TUNED, 4))


@pytest.mark.parametrize("sym", [True, False])
def test_a_tuned_layer_is_no_rounded_one(weight: torch.Tensor, sym: bool) -> None:
    with pytest.raises(QuantizeError, match="steps from its weight"):
        check_layer(rounded(weight, 4, sym=sym, offset=0.4), weight, bound_of(ROUNDED, 4))
    with pytest.raises(QuantizeError, match="groups cover"):
        check_layer(rounded(weight, 4, sym=sym, shrink=0.9), weight, bound_of(ROUNDED, 4))


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("tuning", [ROUNDED, TUNED])
def test_wrongly_written_layers_are_found(weight: torch.Tensor, bits: int, sym: bool, tuning: TuningConfig) -> None:
    form, bound = rounded(weight, bits, sym=sym), bound_of(tuning, bits)
    wrong = {
        "zero point": replace(form, zero_points=form.zero_points + 2),
        "columns": replace(form, codes=form.codes.roll(1, dims=1)),
        "rows": replace(form, codes=form.codes.flip(0)),
        "sign": replace(form, scales=-form.scales),
        "smaller step": replace(form, scales=form.scales / 4),
        "larger step": replace(form, scales=form.scales * 1.1),
        "groups": replace(form, scales=form.scales.roll(1, dims=0)),
        "infinite": replace(form, scales=form.scales * float("inf")),
    }
    for name, layer in wrong.items():
        with pytest.raises(QuantizeError):
            pytest.fail(f"{name} accepted: {check_layer(layer, weight, bound)}")


def test_a_single_code_two_steps_off_is_found(weight: torch.Tensor) -> None:
    form = rounded(weight, 4, sym=False)
    form.codes[7, 3] += 2 if form.codes[7, 3] < 8 else -2
    with pytest.raises(QuantizeError, match=r"a code is [12]\.\d\d steps"):
        check_layer(form, weight, bound_of(TUNED, 4))


def test_a_group_of_zeros_is_accepted(weight: torch.Tensor) -> None:
    weight[:, :GROUP] = 0
    form = rounded(weight, 4, sym=True)
    form.scales[0] = 1e-5  # auto-round's smallest step
    form.codes[:GROUP] = 8
    check_layer(form, weight, bound_of(ROUNDED, 4))


def test_a_fixed_range_allows_no_shrinking() -> None:
    assert bound_of(TuningConfig(iters=200, enable_minmax_tuning=False), 4).least_coverage == 1
    assert bound_of(TuningConfig(iters=200, minmax_lr=1e-3), 4).least_coverage == pytest.approx(1 - 0.1005)
    assert bound_of(TuningConfig(iters=1000), 2).code_steps > bound_of(TuningConfig(iters=1000), 4).code_steps


@pytest.fixture
def result(model: Path, run_quantize: RunQuantize, tmp_path: Path) -> Path:
    """A sound result that a test may break; made once for all tests of this file."""
    kept = model.parent / "rounded-for-verify"
    if not kept.exists():
        run_quantize(model, kept, "--recipe", "rtn")
    return Path(shutil.copytree(kept, tmp_path / "result"))


def verify_all(model: Path, result: Path, scheme: LayerScheme = PLANNED) -> int:
    source = open_source(model)
    plan = make_plan(QuantizeConfig(model=str(model), output_dir=result, scheme=scheme), source)
    return len(list(verify(open_checkpoint(result), source, plan, ROUNDED)))


def test_a_sound_result_is_accepted_layer_by_layer(model: Path, result: Path) -> None:
    assert verify_all(model, result) == 14


def test_a_missing_layer_is_found(model: Path, result: Path) -> None:
    name = "model.layers.1.mlp.up_proj"
    tensors = load_file(result / "model.safetensors")
    for part in ("qweight", "qzeros", "scales"):
        del tensors[f"{name}.{part}"]
    tensors[f"{name}.weight"] = open_checkpoint(model).read_tensor(f"{name}.weight")
    save_file(tensors, result / "model.safetensors")
    with pytest.raises(QuantizeError, match=f"layer {name} was to be quantized"):
        verify_all(model, result)


def test_a_surplus_layer_is_found(model: Path, result: Path) -> None:
    tensors = load_file(result / "model.safetensors")
    for part in ("qweight", "qzeros", "scales"):
        tensors[f"model.layers.2.mlp.up_proj.{part}"] = tensors[f"model.layers.1.mlp.up_proj.{part}"].clone()
    save_file(tensors, result / "model.safetensors")
    with pytest.raises(QuantizeError, match=r"layer model\.layers\.2\.mlp\.up_proj is quantized, but was not to be"):
        verify_all(model, result)


def test_a_changed_plain_tensor_is_found(model: Path, result: Path) -> None:
    tensors = load_file(result / "model.safetensors")
    tensors["model.norm.weight"][5] += 0.01
    save_file(tensors, result / "model.safetensors")
    with pytest.raises(QuantizeError, match=r"tensor model\.norm\.weight differs"):
        verify_all(model, result)


def test_a_scheme_other_than_planned_is_found(model: Path, result: Path) -> None:
    with pytest.raises(QuantizeError, match="but the plan was"):
        verify_all(model, result, LayerScheme(group_size=32))
