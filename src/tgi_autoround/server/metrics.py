"""TGI's Prometheus metrics: its names, labels and buckets."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.observer import StepReport
from tgi_autoround.engine.request import Finish

DURATION_BUCKETS_S = [0.0001 * 1.5**power for power in range(1, 36)]
BATCH_SIZE_BUCKETS = list(range(1, 1025))
METHODS = ("prefill", "decode")
FAILURES = ("validation", "overloaded", "generation", "incomplete", "dropped", "template")


class Total:
    """A counter of what somebody else counts."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._value = 0

    def reach(self, value: int) -> None:
        """Set the counter to `value`, which is never less than before."""
        self._counter.inc(value - self._value)
        self._value = value


class Metrics:
    """What the server counts, and what the engine reports after each step (`on_step`)."""

    def __init__(self, limits: EngineLimits) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._counter_names: list[str] = []
        self.request_count = self._counter("tgi_request_count", "Requests")
        self.request_success = self._counter("tgi_request_success", "Requests that succeeded")
        self.request_failure = self._counter("tgi_request_failure", "Requests that failed", ["err"])
        for cause in FAILURES:
            self.request_failure.labels(cause)
        self._define_request_histograms(limits)
        self._define_batch_metrics(limits)

    def _define_request_histograms(self, limits: EngineLimits) -> None:
        self.request_duration = self._duration("tgi_request_duration", "Whole request")
        self.validation_duration = self._duration("tgi_request_validation_duration", "Validation")
        self.queue_duration = self._duration("tgi_request_queue_duration", "Wait for a place in the batch")
        self.inference_duration = self._duration("tgi_request_inference_duration", "Time in the batch")
        self.time_per_token = self._duration("tgi_request_mean_time_per_token_duration", "Mean time of a token")
        self.generated_tokens = self._tokens("tgi_request_generated_tokens", limits.max_total_tokens)
        self.input_length = self._tokens("tgi_request_input_length", limits.max_input_tokens)
        self.max_new_tokens = self._tokens("tgi_request_max_new_tokens", limits.max_total_tokens)

    def _define_batch_metrics(self, limits: EngineLimits) -> None:
        self.queue_size = self._gauge("tgi_queue_size", "Requests waiting for the batch")
        self.batch_size = self._gauge("tgi_batch_current_size", "Requests in the batch")
        self.batch_tokens = self._gauge("tgi_batch_current_max_tokens", "Tokens the batch may grow to")
        self._gauge("tgi_batch_max_total_tokens", "Most tokens of a batch").set(limits.max_batch_total_tokens)
        self.batch_count = self._counter("tgi_batch_inference_count", "Steps begun", ["method"])
        self.batch_success = self._counter("tgi_batch_inference_success", "Steps done", ["method"])
        self.batch_duration = Histogram(
            "tgi_batch_inference_duration",
            "Time of a step in seconds",
            ["method"],
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        for method in METHODS:
            for metric in (self.batch_count, self.batch_success, self.batch_duration):
                metric.labels(method)
        self.next_batch_size = Histogram(
            "tgi_batch_next_size",
            "Requests in the batch when prompts join it",
            buckets=BATCH_SIZE_BUCKETS,
            registry=self.registry,
        )
        self._define_cache_metrics()

    def _define_cache_metrics(self) -> None:
        """Not TGI's: the share of prompt tokens that were not computed is the second by the first."""
        self.admitted_tokens = self._total("tgi_prefix_cache_query_tokens", "Prompt tokens that entered the batch")
        self.reused_tokens = self._total("tgi_prefix_cache_hit_tokens", "Prompt tokens found in the prefix cache")
        self.preemptions = self._total("tgi_batch_preemptions", "Requests put back into the queue for memory")

    def on_step(self, report: StepReport) -> None:
        """Record one step of the engine (called on the engine's thread)."""
        self.queue_size.set(report.queue_size)
        self.batch_size.set(report.batch_size)
        self.batch_tokens.set(report.batch_tokens)
        self.batch_count.labels(report.method).inc()
        self.batch_success.labels(report.method).inc()
        self.batch_duration.labels(report.method).observe(report.inference_s)
        if report.method == "prefill":
            self.next_batch_size.observe(report.batch_size)
        self.admitted_tokens.reach(report.admitted_tokens)
        self.reused_tokens.reach(report.reused_tokens)
        self.preemptions.reach(report.preemptions)

    def on_idle(self) -> None:
        """Record that no request is left (called on the engine's thread)."""
        for gauge in (self.queue_size, self.batch_size, self.batch_tokens):
            gauge.set(0)

    def on_failure(self, cause: str) -> None:
        """Count a request that got an error, or nobody to give an answer to."""
        self.request_failure.labels(cause).inc()

    def on_valid(self, input_length: int, max_new_tokens: int) -> None:
        """Record the size of a request, in tokens."""
        self.input_length.observe(input_length)
        self.max_new_tokens.observe(max_new_tokens)

    def on_success(self, total_s: float, validation_s: float, finish: Finish) -> None:
        """Record a finished request."""
        self.request_success.inc()
        self.request_duration.observe(total_s)
        self.validation_duration.observe(validation_s)
        self.queue_duration.observe(finish.queue_s)
        self.inference_duration.observe(finish.inference_s)
        self.time_per_token.observe(finish.inference_s / finish.generated_tokens)
        self.generated_tokens.observe(finish.generated_tokens)

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        text = generate_latest(self.registry).decode()
        for name in self._counter_names:
            # prometheus_client appends _total to every counter; the names in TGI's dashboards have none.
            text = text.replace(f"{name}_total", name)
        return text.encode()

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        self._counter_names.append(name)
        return Counter(name, text, labels, registry=self.registry)

    def _total(self, name: str, text: str) -> "Total":
        return Total(self._counter(name, text))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _duration(self, name: str, text: str) -> Histogram:
        return Histogram(name, f"{text} in seconds", buckets=DURATION_BUCKETS_S, registry=self.registry)

    def _tokens(self, name: str, largest: int) -> Histogram:
        buckets = [largest * step / 100 for step in range(1, 101)]
        return Histogram(name, "Tokens of a request", buckets=buckets, registry=self.registry)
