"""Traces of requests, sent to an OpenTelemetry collector. Importing this needs the packages of the extra `otlp`."""

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


class Trace:
    """The trace of one request."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def add_stage(self, name: str, started_ns: int, duration_s: float) -> None:
        """Tell of a part of it that is over. `started_ns`: since 1970."""
        stage = self._tracer.start_span(name, set_span_in_context(self._span), start_time=started_ns)
        stage.end(started_ns + int(duration_s * 1e9))

    def fail(self, error: Exception) -> None:
        """Mark it as failed."""
        self._span.record_exception(error)
        self._span.set_status(StatusCode.ERROR, str(error))

    def end(self, attributes: dict[str, str]) -> None:
        """Send it."""
        self._span.set_attributes(attributes)
        self._span.end()


class Tracing:
    """A connection to the collector at `endpoint`, such as http://localhost:4317."""

    def __init__(self, endpoint: str, service_name: str) -> None:
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": service_name}))
        exporter = OTLPSpanExporter(endpoint, insecure=not endpoint.startswith("https://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("tgi_autoround")
        self._propagator = TraceContextTextMapPropagator()

    def start(self, name: str, traceparent: str | None) -> Trace:
        """Begin the trace of a request, under that of the caller where it named one."""
        context = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        return Trace(self._tracer, self._tracer.start_span(name, context))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
