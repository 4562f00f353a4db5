"""Small decoders, run by the CUDA decoder in steps as the engine makes them, beside transformers' own forward."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tgi_autoround.engine.attention import PromptChunk, StepLayout
from tgi_autoround.engine.cuda.decoder import CudaDecoder
from tgi_autoround.engine.cuda.model import CudaModel
from tgi_autoround.engine.decoder import read
from tgi_autoround.engine.kv_cache import KVCache

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True},
    "qwen3": {"head_dim": 20},
    "phi3": {"partial_rotary_factor": 0.5, "pad_token_id": 0, "eos_token_id": 1},
    "gemma": {"head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True},
    "gemma2": {"head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 16, "pad_token_id": 0},
}
PROMPTS = torch.tensor([[5, 80, 33, 7, 21, 64, 90, 2, 11, 45], [9, 9, 31, 70, 12, 55, 3, 60, 28, 17]])


def small_model(family: str, std: float = 0.15) -> Any:
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**SMALL, **FAMILIES[family]})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


@torch.no_grad()
def error_of_decoder(family: str) -> float:
    """The first prompt enters at once, the second in two chunks, beside the first's next token; then both decode."""
    model = small_model(family)
    expected = model(PROMPTS).logits
    cache = KVCache(model.config, 3, 64, torch.float32, CPU)
    weights = read(model)
    assert not isinstance(weights, str), weights
    cuda_model = CudaModel(CudaDecoder(weights, cache), CPU)
    steps = (
        ([], (PromptChunk(0, 0, 6, offset=0), PromptChunk(1, 0, 4, offset=6))),
        ([6], (PromptChunk(1, 4, 7, offset=1),)),
        ([7, 7], ()),
        ([8, 8], ()),
        ([9, 9], ()),
    )
    errors = []
    for decoding, chunks in steps:
        places = [(slot, position) for slot, position in enumerate(decoding)]
        places += [(chunk.slot, position) for chunk in chunks for position in range(chunk.start, chunk.stop)]
        slots, positions = torch.tensor(places).T
        layout = StepLayout(cache, torch.tensor(decoding), torch.empty(0), chunks)
        found = cuda_model(
            input_ids=PROMPTS[slots, positions][None],
            position_ids=positions[None],
            logits_to_keep=torch.arange(len(places)),
            step=layout,
            use_cache=False,
        ).logits[0]
        errors.append(float((found.float() - expected[slots, positions]).norm() / expected[slots, positions].norm()))
    return max(errors)
