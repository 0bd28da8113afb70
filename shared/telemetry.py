"""Traces that cross the outbox, and Prometheus metrics. Attribute values are ids and names, never personal text."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_LABELS = ("service",)

_ROUTE = ("service", "route", "method", "status")

REQUESTS = Histogram("cowork_http_request_seconds", "HTTP requests by route and status", _ROUTE, registry=REGISTRY)
OUTBOX_AGE = Gauge(
    "cowork_outbox_oldest_seconds", "Age of the oldest event that waits for its confirm", _LABELS, registry=REGISTRY
)
PARKED = Gauge("cowork_inbox_parked", "Parked events by state", ("service", "state"), registry=REGISTRY)
CONSUMER = Gauge("cowork_consumer_registered", "1 while the consumer is registered", _LABELS, registry=REGISTRY)
LEASE_EPOCH = Gauge("cowork_relay_lease_epoch", "Epoch of the relay lease held (0: none)", _LABELS, registry=REGISTRY)
RELAYED = Counter("cowork_events_relayed_total", "Events confirmed by the broker", _LABELS, registry=REGISTRY)
HANDLED = Counter("cowork_events_handled_total", "Events handled by outcome", ("service", "outcome"), registry=REGISTRY)
ERASURE_SECONDS = Histogram(
    "cowork_erasure_seconds", "From the event to this service's receipt", _LABELS, registry=REGISTRY
)
PAST_DUE = Gauge("cowork_retention_past_due", "Rows past their retention date", _LABELS, registry=REGISTRY)
NAMES_UNKNOWN = Counter(
    "cowork_names_unknown_total", "Names shown neutrally because identity did not answer", _LABELS, registry=REGISTRY
)

_propagator = TraceContextTextMapPropagator()
# Made once: the library builds and filters anew at every `get_tracer`, which was a tenth of handling an event.
_tracer = trace.get_tracer("cowork")
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def configure_tracing(service: str) -> None:
    """Install a tracer provider once per process, unless the operator's instrumentation has brought one.

    Ours has no exporter: it only makes ids, so that problems and events can name their trace, and records spans of
    callers who record theirs.
    """
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        resource = Resource.create({"service.name": service})
        trace.set_tracer_provider(TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource))


@contextmanager
def span(name: str, *, traceparent: str | None = None) -> Iterator[None]:
    """Run the body in a span, a child of `traceparent` (W3C Trace Context) when it is well formed."""
    parent = None
    if traceparent and _TRACEPARENT.match(traceparent):
        parent = _propagator.extract({"traceparent": traceparent})
    with _tracer.start_as_current_span(name, context=parent, record_exception=False):
        yield


def current_traceparent() -> str | None:
    """Return the W3C traceparent of the current span, or None outside one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def current_trace_id() -> str | None:
    """Return the current trace id as 32 hex digits, or None outside a span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
