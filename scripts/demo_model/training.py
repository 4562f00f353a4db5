"""Training from scratch on a text that is small for the model: many epochs, dropout, weight decay, Muon."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

CONTEXT_TOKENS = 2048
EVALUATIONS = 20
NEWTON_SCHULZ_STEPS, NEWTON_SCHULZ_COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Recipe:
    """Shape and training; `hidden` and `intermediate` are multiples of 128, the usual group."""

    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dropout: float
    weight_decay: float
    steps: int
    batch_tokens: int = 16384
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    warmup_share: float = 0.02
    decay_share: float = 0.6


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are orthogonalised by Newton-Schulz in the weights' own precision.

    `torch.optim.Muon` iterates in bfloat16 whatever the weights are, which is three times slower a step on CPUs
    without bfloat16 units; here matrices of one shape are also iterated as one batch.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonalised(torch.stack([self._momentum(p, group["momentum"]) for p in parameters]))
                rate = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> torch.Tensor:
        average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
        average.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum)


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Float [batch, rows, columns] -> same shape, singular values brought near 1."""
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def new_model(recipe: Recipe, bos: int, eos: int, pad: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            head_dim=recipe.head_dim,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=pad,
        )
    )


def train(
    model: LlamaForCausalLM,
    recipe: Recipe,
    documents: Sequence[Sequence[int]],
    seed: int,
    validate: Callable[[], float],
) -> float:
    """Trains in place, leaves the weights of the best evaluation in `model`, returns its validation figure."""
    handles = _add_dropout(model, recipe.dropout)
    optimizers = _optimizers(model, recipe)
    batches = _batches(documents, recipe.batch_tokens // CONTEXT_TOKENS, seed, model.device)
    best, best_weights, started = float("inf"), {}, time.monotonic()
    for step in range(1, recipe.steps + 1):
        _set_rates(optimizers, _schedule(step / recipe.steps, recipe))
        loss = _step(model, optimizers, next(batches))
        if step % max(1, recipe.steps // EVALUATIONS) == 0 or step == recipe.steps:
            figure = _evaluate(model, validate)
            elapsed_s = time.monotonic() - started
            print(f"step {step}/{recipe.steps} loss {loss:.3f} validation {figure:.4f} {elapsed_s:.0f} s", flush=True)
            if figure < best:
                best, best_weights = figure, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(best_weights)
    for handle in handles:
        handle.remove()
    model.eval()
    return best


def _step(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], batch: torch.Tensor) -> torch.Tensor:
    on_gpu = model.device.type == "cuda"
    with torch.autocast(model.device.type, torch.bfloat16, enabled=on_gpu):
        logits = model(batch[:, :-1]).logits
    loss = functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad(set_to_none=True)
    return loss.detach()


def _evaluate(model: LlamaForCausalLM, validate: Callable[[], float]) -> float:
    model.eval()
    figure = validate()
    model.train()
    return figure


def _batches(
    documents: Sequence[Sequence[int]], sequences: int, seed: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Endless int64 [sequences, CONTEXT_TOKENS + 1]; each epoch packs the documents in a new order."""
    rng = random.Random(seed)
    order = list(documents)
    while True:
        rng.shuffle(order)
        stream = torch.tensor([token for document in order for token in document])
        windows = stream.unfold(0, CONTEXT_TOKENS + 1, CONTEXT_TOKENS)
        for start in range(0, len(windows) - sequences + 1, sequences):
            yield windows[start : start + sequences].to(device)


def _add_dropout(model: LlamaForCausalLM, rate: float) -> list[torch.utils.hooks.RemovableHandle]:
    """Llama's code has no dropout on its residual branches, which a small corpus needs."""

    def drop(module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return functional.dropout(output, rate, module.training)

    dropped = ("embed_tokens", "o_proj", "down_proj")
    return [m.register_forward_hook(drop) for name, m in model.named_modules() if name.endswith(dropped)]


def _optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or ".layers." not in name]
    return [
        Muon(matrices, recipe.muon_lr, recipe.weight_decay),
        torch.optim.AdamW(others, recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def _schedule(progress: float, recipe: Recipe) -> float:
    """Trapezoid: warm-up, plateau, linear decay to zero."""
    return min(1.0, progress / recipe.warmup_share, (1 - progress) / recipe.decay_share)


def _set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("peak_lr", group["lr"]) * factor
