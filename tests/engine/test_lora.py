"""Adapters against peft itself, on the dequantized model of transformers."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Quantized
from tests.engine.families import FAMILIES, make_quantized
from tests.engine.harness import Answer, greedy, start_engine, submit_all
from tests.oracle import dequantized_model
from tgi_autoround.engine import Engine, EngineConfig, Request, SamplingParams, build_engine
from tgi_autoround.engine.config import LoraAdapter
from tgi_autoround.errors import ConfigError, EngineError, TgiAutoRoundError

PROMPTS = [list(range(3, 30)), [500, 7, 9], list(range(800, 740, -1))]
CONFIGS = {
    "attention": peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    "all": peft.LoraConfig(r=8, lora_alpha=8, target_modules="all-linear", use_rslora=True),
    "patterns": peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["o_proj", "down_proj"],
        rank_pattern={"o_proj": 2},
        alpha_pattern={"layers.1.mlp.down_proj": 32},
    ),
}


def tuned(model_dir: Path, config: peft.LoraConfig, seed: int) -> peft.PeftModel:
    """The model with an adapter that changes what it says: peft's own begin as zero."""
    model = peft.get_peft_model(dequantized_model(model_dir), config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return model.eval()


@pytest.fixture(scope="module")
def oracles(quantized: Quantized, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[peft.PeftModel, Path]]:
    """Each adapter's model by peft, and the directory that peft saved the adapter in."""
    found = {}
    for seed, (name, config) in enumerate(CONFIGS.items()):
        model, path = tuned(quantized(bits=4), config, seed), tmp_path_factory.mktemp(name)
        model.save_pretrained(path)
        found[name] = (model, path)
    return found


@pytest.fixture(scope="module")
def engine(quantized: Quantized, oracles) -> Iterator[Engine]:
    adapters = tuple(LoraAdapter(name, path) for name, (_model, path) in oracles.items())
    engine = start_engine(
        quantized(bits=4), cpu_compute="fp32", max_batch_size=6, max_batch_prefill_tokens=20, lora_adapters=adapters
    )
    yield engine
    engine.stop()


def request(prompt: list[int], adapter: str | None) -> Request:
    return Request(prompt, SamplingParams(max_new_tokens=12), prefill_logprobs=True, adapter=adapter)


def scores(answer: Answer) -> list[float | None]:
    return [token.logprob for token in answer.finish.prefill]


def test_each_adapter_says_what_peft_says_in_a_mixed_batch(engine: Engine, oracles, quantized: Quantized) -> None:
    models = {None: dequantized_model(quantized(bits=4))} | {name: model for name, (model, _path) in oracles.items()}
    cases = [(prompt, name) for prompt in PROMPTS for name in models]
    answers = submit_all(engine, [request(prompt, name) for prompt, name in cases], max_pause_s=0.01)
    texts = set()
    for (prompt, name), answer in zip(cases, answers, strict=True):
        assert answer.token_ids == greedy(models[name], prompt, 12)
        with torch.no_grad():
            expected = models[name](torch.tensor([prompt])).logits[0].log_softmax(-1)[:-1]
        expected = expected.gather(1, torch.tensor(prompt[1:])[:, None])[:, 0]
        assert scores(answer)[1:] == pytest.approx(expected.tolist(), abs=2e-4)
        texts.add(tuple(answer.token_ids))
    assert len(texts) == len(cases)


def test_an_adapter_changes_nothing_for_the_others(engine: Engine) -> None:
    requests = [request(prompt, name) for prompt in PROMPTS for name in (None, "all", "attention")]
    together = submit_all(engine, requests)
    for each, answer in zip(requests, together, strict=True):
        (alone,) = submit_all(engine, [request(each.prompt_ids, each.adapter)])
        assert answer.token_ids == alone.token_ids
        assert scores(answer)[1:] == pytest.approx(scores(alone)[1:], abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "phi3, window", "gptj", "mpt", "qwen2_moe"])
def test_a_familys_own_attention_and_layers_take_adapters(name: str, tmp_path: Path) -> None:
    """Transposed and fused linears, replaced attention, and experts that have no adapter beside layers that do."""
    model_dir = make_quantized(FAMILIES[name], tmp_path / "model")
    model = tuned(model_dir, peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"), seed=0)
    model.save_pretrained(tmp_path / "adapter")
    adapter = LoraAdapter("mine", tmp_path / "adapter")
    engine = start_engine(model_dir, cpu_compute="fp32", max_total_tokens=128, lora_adapters=(adapter,))
    adapted, plain = submit_all(engine, [request(PROMPTS[0], adapter) for adapter in ("mine", None)])
    engine.stop()
    assert adapted.token_ids == greedy(model, PROMPTS[0], 12)
    assert plain.token_ids != adapted.token_ids


def test_an_unknown_adapter_is_refused(engine: Engine) -> None:
    assert engine.adapters == set(CONFIGS)
    with pytest.raises(EngineError, match="no LoRA adapter 'other' is loaded"):
        submit_all(engine, [request(PROMPTS[0], "other")])


def change_config(**fields: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    return change


def change_tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        file = path / "adapter_model.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file)

    return apply


def renamed(old: str, new: str) -> Callable[[Path], None]:
    return change_tensors(lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_config(use_dora=True), "use_dora is True, which is not served; merge the adapter"),
        (change_config(modules_to_save=["lm_head"]), "modules_to_save"),
        (change_config(bias="lora_only"), "bias is 'lora_only'"),
        (change_config(a_field_of_next_year={"on": 1}), "a_field_of_next_year"),
        (change_config(init_lora_weights="pissa"), "changes the base model's weights too"),
        (change_config(peft_type="IA3"), "only LoRA is served"),
        (change_config(r=5), "adapter_config.json says rank 5"),
        (change_config(lora_alpha=None), "lora_alpha is None"),
        (renamed("layers.1", "layers.7"), "has no layer model.layers.7.self_attn"),
        (renamed("layers.1.self_attn.q_proj", "layers.1.input_layernorm"), "only linears that see all tokens"),
        (renamed("model.layers.1.self_attn.q_proj", "lm_head"), "changes lm_head"),
        (renamed("q_proj", "k_proj"), "the model's layer has"),
        (renamed("lora_A", "lora_C"), "is no factor of LoRA"),
        (change_tensors(lambda tensors: {n: t for n, t in tensors.items() if "lora_B" not in n}), "has lora_A alone"),
        (change_tensors(lambda _tensors: {}), "holds no tensors"),
        (lambda path: (path / "adapter_model.safetensors").unlink(), "adapter_model.safetensors cannot be read"),
        (lambda path: (path / "adapter_config.json").write_text("{"), "adapter_config.json cannot be read"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_at_start(
    quantized: Quantized, oracles, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    path = shutil.copytree(oracles["attention"][1], tmp_path / "adapter")
    damage(path)
    with pytest.raises(TgiAutoRoundError, match=message) as caught:
        build_engine(EngineConfig(quantized(bits=4), lora_adapters=(LoraAdapter("mine", path),)))
    assert "'mine'" in str(caught.value)


def test_two_adapters_of_one_id_are_refused(quantized: Quantized, oracles) -> None:
    adapter = LoraAdapter("mine", oracles["all"][1])
    with pytest.raises(ConfigError, match="same id"):
        build_engine(EngineConfig(quantized(bits=4), lora_adapters=(adapter, adapter)))
