"""What a scenario file may say: who asks, what, how often, and what counts as good enough."""

from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from loadtest.llmload.request import ProtocolName


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(Model):
    """A normal distribution of whole numbers, cut at `min` and `max`."""

    mean: float = Field(gt=0)
    stdev: float = Field(default=0, ge=0)
    min: int = Field(default=1, ge=1)
    max: int = Field(default=1_000_000, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Spread":
        if not self.min <= self.mean <= self.max:
            raise ValueError(f"mean {self.mean:g} has to lie between min {self.min} and max {self.max}")
        return self

    def draw(self, random: Random) -> int:
        if self.stdev == 0:
            return round(self.mean)
        return min(max(round(random.gauss(self.mean, self.stdev)), self.min), self.max)


def _spread_of(value: Any) -> Any:
    """A bare number is the same number every time."""
    return {"mean": value} if isinstance(value, int | float | str) else value


Count = Annotated[Spread, BeforeValidator(_spread_of)]
PositiveInt = Annotated[int, Field(ge=1)]

Rate = Annotated[float, Field(gt=0)]


class Closed(Model):
    """Users who ask, read the answer, think, and ask again; locust's -u overrides `users`."""

    process: Literal["closed"]
    users: PositiveInt = 8
    think_time_s: float = Field(default=0, ge=0)


class Constant(Model):
    """Evenly spaced arrivals."""

    process: Literal["constant"]
    rate_per_s: Rate


class Poisson(Model):
    """Arrivals independent of each other."""

    process: Literal["poisson"]
    rate_per_s: Rate


class Gamma(Model):
    """Gamma-distributed gaps; `burstiness` is their shape: 1 is Poisson, below 1 arrivals come in bursts."""

    process: Literal["gamma"]
    rate_per_s: Rate
    burstiness: float = Field(gt=0)


class Ramp(Model):
    """Poisson arrivals whose rate goes linearly from one to the other and then stays."""

    process: Literal["ramp"]
    from_per_s: float = Field(ge=0)
    to_per_s: Rate
    over_s: float = Field(gt=0)


class Trace(Model):
    """Arrivals of a CSV file with the columns time_s and, if wanted, prompt_tokens and max_tokens."""

    process: Literal["trace"]
    file: str
    speed: float = Field(default=1, gt=0)


OpenArrivals = Constant | Poisson | Gamma | Ramp | Trace
Arrivals = Annotated[Closed | OpenArrivals, Field(discriminator="process")]

Texts = Literal["chat", "code", "documents"]


class Builtin(Model):
    """Texts that come with the load test."""

    source: Literal["builtin"]
    texts: Texts


class Jsonl(Model):
    """One JSON object a line: a text under `field`, or a list of chat messages."""

    source: Literal["jsonl"]
    file: str
    field: str = "prompt"


class ShareGpt(Model):
    """A file in ShareGPT's format; what its humans said is asked turn by turn."""

    source: Literal["sharegpt"]
    file: str


class Synthetic(Model):
    """Texts of exactly so many tokens as the server counts them, chat template included.

    With `shared_prefix_tokens`, each begins with one of `prefixes` texts of about that length.
    """

    source: Literal["synthetic"]
    prompt_tokens: Count
    texts: Texts = "documents"
    instruction: str = ""
    distinct: PositiveInt = 64
    shared_prefix_tokens: int = Field(default=0, ge=0)
    prefixes: PositiveInt = 1


Prompts = Annotated[Builtin | Jsonl | ShareGpt | Synthetic, Field(discriminator="source")]


class Sampling(Model):
    """Sent as they are where the protocol knows them; what is None is not sent."""

    temperature: float | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    seed: int | None = Field(default=None, ge=0)
    stop: tuple[str, ...] = ()


class Slo(Model):
    """Limits a request must keep to count for goodput; what is None is not asked for."""

    ttft_s: float | None = Field(default=None, gt=0)
    tpot_s: float | None = Field(default=None, gt=0)
    e2e_s: float | None = Field(default=None, gt=0)


class Search(Model):
    """The search for the highest concurrency at which `attainment` of the requests keep the SLO."""

    attainment: float = Field(default=0.95, gt=0, le=1)
    first_users: PositiveInt = 1
    most_users: PositiveInt = 256
    step_s: float = Field(default=15, gt=0)
    min_requests: PositiveInt = 20


class Workload(Model):
    """What one request, or one conversation, is."""

    protocol: ProtocolName = "openai-chat-stream"
    prompts: Prompts
    turns: Count = Spread(mean=1)
    max_tokens: Count = Spread(mean=64)
    sampling: Sampling = Sampling()
    slo: Slo = Slo()

    @model_validator(mode="after")
    def _slo_can_be_measured(self) -> "Workload":
        if not self.protocol.endswith("-stream") and (self.slo.ttft_s or self.slo.tpot_s):
            raise ValueError(
                f"slo.ttft_s and slo.tpot_s need a stream; {self.protocol} has none: use {self.protocol}-stream"
            )
        return self


class Part(Model):
    """One of the workloads of a scenario; of all arrivals it gets its weight's share."""

    name: str
    weight: Rate = 1
    tags: tuple[str, ...] = ()
    workload: Workload


class Scenario(Model):
    """A whole load test, as one file describes it with what it refers to read in."""

    name: str
    description: str
    arrivals: Arrivals
    duration_s: float = Field(default=60, gt=0)
    warmup_s: float = Field(default=0, ge=0)
    parts: tuple[Part, ...] = Field(min_length=1)
    search: Search | None = None
    folder: str
    """What relative paths of the scenario start from."""

    @property
    def is_open_loop(self) -> bool:
        return not isinstance(self.arrivals, Closed)

    def lasting(self, duration_s: float) -> "Scenario":
        """The same for another time; the warm-up takes a fifth of it at most."""
        warmup_s = min(self.warmup_s, duration_s / 5)
        return self.model_copy(update={"duration_s": duration_s, "warmup_s": warmup_s})

    @model_validator(mode="after")
    def _something_is_measured(self) -> "Scenario":
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s {self.warmup_s:g} leaves nothing of duration_s {self.duration_s:g}")
        return self

    @model_validator(mode="after")
    def _turns_wait_for_answers(self) -> "Scenario":
        if self.is_open_loop and any(part.workload.turns != Spread(mean=1) for part in self.parts):
            raise ValueError(
                "turns need arrivals.process closed: a later turn cannot be due before the answer is there"
            )
        return self
