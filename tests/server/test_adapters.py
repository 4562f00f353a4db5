"""LoRA adapters by the names that clients give: what the server says with one is what peft says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
from transformers import PreTrainedTokenizerBase

from tests.engine.harness import greedy
from tests.engine.test_lora import tuned
from tests.server.live import LiveServer

PROMPT = "What is a list?"


@pytest.fixture(scope="module")
def oracle(served_model: Path) -> peft.PeftModel:
    """The served model with an adapter, by peft."""
    return tuned(served_model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]), seed=0)


@pytest.fixture(scope="module")
def adapted_server(
    oracle: peft.PeftModel, served_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("adapter")
    oracle.save_pretrained(directory)
    options = ("--cpu-compute", "fp32", "--lora-adapters", f"mine={directory}")
    live = LiveServer(served_model, tmp_path_factory.mktemp("adapted") / "log", *options)
    yield live
    live.close()


@pytest.fixture(scope="module")
def said(oracle: peft.PeftModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """The greedy continuation of the prompt with the adapter."""
    return tokenizer.decode(greedy(oracle, tokenizer(PROMPT).input_ids, 10), skip_special_tokens=True)


def test_adapter_id_chooses_the_adapter(adapted_server: LiveServer, server: LiveServer, said: str) -> None:
    text = server.generate(PROMPT, max_new_tokens=10)["generated_text"]
    assert text != said
    assert adapted_server.generate(PROMPT, max_new_tokens=10, adapter_id="mine")["generated_text"] == said
    for other in ({}, {"adapter_id": "nobodys"}):
        assert adapted_server.generate(PROMPT, max_new_tokens=10, **other)["generated_text"] == text


def test_the_name_of_a_model_chooses_it_on_openais_routes(adapted_server: LiveServer, said: str) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 10, "temperature": 0.0}
    texts = {
        model: adapted_server.post("/v1/completions", {**body, "model": model}).json()["choices"][0]["text"]
        for model in ("mine", "tgi")
    }
    assert texts["mine"] == said != texts["tgi"]
    messages = [{"role": "user", "content": PROMPT}]
    chat = {"messages": messages, "max_tokens": 10, "temperature": 0.0, "model": "mine"}
    prompt = adapted_server.post("/chat_tokenize", chat).json()["templated_text"]
    answer = adapted_server.post("/v1/chat/completions", chat).json()
    same = adapted_server.generate(prompt, max_new_tokens=10, adapter_id="mine")
    assert answer["choices"][0]["message"]["content"] == same["generated_text"]
    assert answer["model"] == "mine"
