"""Every request of a run, in order, from the scenario and the seed alone."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random

from loadtest.arrivals import Arrival, arrivals_of
from loadtest.errors import LoadTestError
from loadtest.llmload.request import Conversation, Message, PromptRequest, Sampling
from loadtest.prompts.counting import ServerTokenizer
from loadtest.prompts.pool import make_pool
from loadtest.prompts.talk import Talk
from loadtest.scenario import Closed, Part, Scenario, Synthetic, Trace

Pools = Mapping[str, Sequence[Talk]]


class RequestPlan:
    """The same scenario, seed and prompts give the same requests in the same order, in every process.

    Open loop: `arrivals`. Closed loop: one `conversation` after the other for each user.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.pools: Pools = {}
        """The prompts of each part, by its name; set before the run starts."""
        self.name = scenario.name
        self.open_loop = scenario.is_open_loop
        self.stop_when_done = scenario.is_open_loop

    def make_pools(self, tokenizer: ServerTokenizer) -> Pools:
        """The prompts of every part; synthetic ones are counted by the server.

        Raises LoadTestError for files that cannot be used and lengths that cannot be met.
        """
        folder = Path(self.scenario.folder)
        return {
            part.name: make_pool(
                part.workload, f"{self.seed}:{part.name}", folder, tokenizer, self._lengths_of_trace(part)
            )
            for part in self.scenario.parts
        }

    def arrivals(self) -> Iterator[PromptRequest]:
        """Open loop: the requests that are due within the scenario's duration, by their time."""
        for index, (arrival, part, number) in enumerate(self._schedule()):
            talks = self.pools[part.name]
            random = Random(f"{self.seed}:{part.name}:{number}")
            talk = talks[number % len(talks)] if isinstance(part.workload.prompts, Synthetic) else random.choice(talks)
            max_tokens = arrival.max_tokens or part.workload.max_tokens.draw(random)
            yield _request(part, f"r{index}", index, talk.turns[:1], (), max_tokens, scheduled_s=arrival.time_s)

    def conversation(self, user_number: int) -> Conversation:
        """Closed loop: what this user asks, conversation after conversation, without end."""
        arrivals = self.scenario.arrivals
        think_time_s = arrivals.think_time_s if isinstance(arrivals, Closed) else 0.0
        index = 0
        for number in count():
            session_id = f"u{user_number}-c{number}"
            random = Random(f"{self.seed}:{session_id}")
            part = self._draw_part(random)
            talk = random.choice(self.pools[part.name])
            turns = part.workload.turns.draw(random)
            answers: list[str] = []
            while len(answers) < min(turns, len(talk.turns)):
                answer = yield _request(
                    part,
                    f"{session_id}-t{len(answers)}",
                    index,
                    talk.turns[: len(answers) + 1],
                    answers,
                    part.workload.max_tokens.draw(random),
                    session_id=session_id,
                    think_time_s=think_time_s if index else 0.0,
                )
                index += 1
                if not answer:
                    break
                answers.append(answer)

    def _schedule(self) -> Iterator[tuple[Arrival, Part, int]]:
        """Every arrival with the part it belongs to, and its number among that part's."""
        process = self.scenario.arrivals
        if isinstance(process, Closed):
            raise LoadTestError(f"The scenario {self.name} has a closed loop: its users decide when they ask.")
        random = Random(f"{self.seed}:parts")
        numbers: Counter[str] = Counter()
        for arrival in arrivals_of(process, self.seed, Path(self.scenario.folder)):
            if arrival.time_s >= self.scenario.duration_s:
                return
            part = self._draw_part(random)
            yield arrival, part, numbers[part.name]
            numbers[part.name] += 1

    def _draw_part(self, random: Random) -> Part:
        (part,) = random.choices(self.scenario.parts, [part.weight for part in self.scenario.parts])
        return part

    def _lengths_of_trace(self, part: Part) -> list[int]:
        if not isinstance(self.scenario.arrivals, Trace):
            return []
        asked = [arrival.prompt_tokens for arrival, of_part, _ in self._schedule() if of_part == part]
        lengths = [length for length in asked if length is not None]
        if lengths and not isinstance(part.workload.prompts, Synthetic):
            raise LoadTestError(
                f"The trace asks for prompt_tokens; only prompts.source synthetic has them ({part.name})."
            )
        if lengths and len(lengths) < len(asked):
            raise LoadTestError("The trace has prompt_tokens in some lines only; fill in all of them, or none.")
        return lengths


def _request(
    part: Part,
    request_id: str,
    index: int,
    asked: Sequence[str],
    answers: Sequence[str],
    max_tokens: int,
    *,
    scheduled_s: float | None = None,
    session_id: str | None = None,
    think_time_s: float = 0.0,
) -> PromptRequest:
    messages = _messages(asked, answers)
    chat = part.workload.protocol.startswith("openai-chat")
    return PromptRequest(
        request_id=request_id,
        index=index,
        scenario=part.name,
        protocol=part.workload.protocol,
        max_tokens=max_tokens,
        prompt="" if chat else "\n\n".join(message.content for message in messages),
        messages=messages if chat else (),
        sampling=Sampling(**part.workload.sampling.model_dump()),
        session_id=session_id,
        scheduled_s=scheduled_s,
        think_time_s=think_time_s,
    )


def _messages(asked: Sequence[str], answers: Sequence[str]) -> tuple[Message, ...]:
    """What was asked and answered in turn; the last question has no answer yet."""
    messages = [Message("user", asked[0])]
    for answer, question in zip(answers, asked[1:], strict=True):
        messages += [Message("assistant", answer), Message("user", question)]
    return tuple(messages)
