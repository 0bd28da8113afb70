"""JSON logs with an allow-list of keys: what is not on it never reaches a log, whoever passes it."""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "logger", "service", "role", "trace_id", "error", "where", "code", "status",
        "method", "route", "milliseconds", "seconds", "count", "attempt", "attempts", "state", "reason", "outcome",
        "case_id", "tenant_id", "event_id", "event_type", "resource_id", "reservation_id", "invoice_id", "ticket_id",
        "post_id", "job", "table", "rule", "queue", "position", "epoch", "lease", "port", "signal", "version",
        "key_id", "kind", "channel", "delivery_id", "export_id", "done", "total", "template",
    }
)  # fmt: skip
_ROOT = Path(__file__).resolve().parent.parent


def _describe(error: BaseException) -> tuple[str, str]:
    """Name an error's class and its place in our code; its message may quote personal values and is left out."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(_ROOT))]
    places = [f"{Path(f.filename).relative_to(_ROOT)}:{f.lineno}" for f in frames[-4:]]
    return type(error).__name__, " < ".join(reversed(places))


def _allow(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = entry.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        entry["error"], entry["where"] = _describe(error)
    return {key: value for key, value in entry.items() if key in ALLOWED}


class _Template(logging.Handler):
    """Takes other libraries' records by their template, without the arguments that may hold personal values."""

    def emit(self, record: logging.LogRecord) -> None:
        entry = structlog.get_logger().bind(logger=record.name)
        template = record.msg if isinstance(record.msg, str) and record.args else record.name
        entry.log(record.levelno, template, exc_info=record.exc_info or None)


def configure(service: str, *, level: str = "INFO") -> None:
    """Send our and the libraries' logs to stderr as JSON lines."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _allow,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(handlers=[_Template()], level=logging.WARNING, force=True)
