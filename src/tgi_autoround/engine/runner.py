"""One step of the model: a plan -> a row of tokens -> the logits of those tokens that choose a next one."""

from typing import Any

import torch

from tgi_autoround.engine.attention import PromptChunk, StepLayout
from tgi_autoround.engine.families import check_every_layer_attended
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.lora import Adapters
from tgi_autoround.engine.prompt_scores import rows_to_score, score
from tgi_autoround.engine.sampling import Choice
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence


class ModelRunner:
    """A transformers model whose attention has been replaced by `attention.attend_step`, and the cache it reads."""

    def __init__(self, model: Any, cache: KVCache, adapters: Adapters | None = None) -> None:
        self._model = model
        self._adapters = adapters
        self._cache = cache
        self._device: torch.device = model.device

    @torch.inference_mode()
    def step(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """Run the model once; return the sequences whose next token is due and their logits.

        Logits are [len(sequences), vocabulary] in the model's type, where it runs. Counts what is in the cache now.
        """
        tokens, positions, layout = self._lay_out(plan)
        due, rows = _due(plan)
        scored = rows_to_score(plan)
        if self._adapters is not None:
            self._adapters.assign(plan)
        rows += [row for part in scored for row in part.rows]
        logits = self._model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=torch.tensor(rows, dtype=torch.int64, device=self._device),
            step=layout,
        ).logits[0]
        score(scored, logits[len(due) :])
        for sequence in plan.decoding:
            sequence.cached += 1
        for chunk in plan.chunks:
            chunk.sequence.cached = chunk.stop
        return due, logits[: len(due)]

    def greedy_choices(self) -> list[Choice] | None:
        """Return what the last step's sequences choose, where that was found with their logits."""
        return None

    def check_architecture(self) -> None:
        """Call after a step. Raises UnsupportedError where the model mixes tokens otherwise than by attention."""
        check_every_layer_attended(self._cache)

    def _lay_out(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor, StepLayout]:
        tokens = [sequence.tokens[-1] for sequence in plan.decoding]
        positions = [sequence.cached for sequence in plan.decoding]
        chunks = []
        for chunk in plan.chunks:
            chunks.append(PromptChunk(chunk.sequence.slot, chunk.start, chunk.stop, offset=len(tokens)))
            tokens += chunk.sequence.tokens[chunk.start : chunk.stop]
            positions += range(chunk.start, chunk.stop)
        row_positions = torch.tensor(positions, dtype=torch.int64, device=self._device)
        decode_positions = row_positions[: len(plan.decoding)]
        longest = max(positions[: len(plan.decoding)], default=0) + 1
        mask = torch.arange(longest, device=self._device) <= decode_positions[:, None]
        layout = StepLayout(self._cache, decode_positions, mask[:, None, None], tuple(chunks))
        return torch.tensor(tokens, dtype=torch.int64, device=self._device), row_positions, layout


def _due(plan: Plan) -> tuple[list[Sequence], list[int]]:
    """Every decoding sequence is due, and every prompt that is complete with this step, at its last token's row."""
    due, rows = list(plan.decoding), list(range(len(plan.decoding)))
    end = len(plan.decoding)
    for chunk in plan.chunks:
        end += chunk.stop - chunk.start
        if chunk.is_last:
            due.append(chunk.sequence)
            rows.append(end - 1)
    return due, rows
