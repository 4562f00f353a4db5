"""The prompts of one workload, made before the run starts."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from loadtest.prompts.builtin import builtin_talks
from loadtest.prompts.counting import ServerTokenizer
from loadtest.prompts.files import jsonl_talks, sharegpt_talks
from loadtest.prompts.synthetic import synthetic_talks
from loadtest.prompts.talk import Talk
from loadtest.scenario import Builtin, Jsonl, ShareGpt, Workload


def make_pool(
    workload: Workload, seed: str, folder: Path, tokenizer: ServerTokenizer, lengths: Sequence[int] = ()
) -> list[Talk]:
    """Every prompt that the workload chooses from; `lengths` are those a trace asks for, in its order.

    Raises LoadTestError for files that cannot be used and lengths that cannot be met.
    """
    source = workload.prompts
    if isinstance(source, Builtin):
        return builtin_talks(source.texts, Random(seed))
    if isinstance(source, Jsonl):
        return jsonl_talks(folder / source.file, source.field)
    if isinstance(source, ShareGpt):
        return sharegpt_talks(folder / source.file)
    random = Random(seed)
    lengths = lengths or [source.prompt_tokens.draw(random) for _ in range(source.distinct)]
    return synthetic_talks(source, lengths, seed, tokenizer.counter(workload.protocol))
