"""The bus's own tables, in every service's database, without row security (relay and consumers walk all tenants)."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db import PLATFORM
from shared.privacy.marks import Erase, no_subject, not_personal, person_ref

_INSTANT = DateTime(timezone=True)

event_log = Table(
    "event_log",
    PLATFORM,
    Column("position", BigInteger, Identity(always=True), primary_key=True, info=not_personal("order")),
    Column("event_id", Uuid, nullable=False, unique=True, info=not_personal("event id")),
    Column("tenant_id", Uuid, nullable=False, info=not_personal("tenant")),
    Column("type", Text, nullable=False, info=not_personal("event name")),
    Column("key", Text, nullable=True, info=person_ref(erase=Erase.NULL)),
    Column("version", BigInteger, nullable=False, info=not_personal("order")),
    Column("epoch", Integer, nullable=False, server_default=text("0"), info=not_personal("order")),
    Column("time", _INSTANT, nullable=False, info=not_personal("instant")),
    Column("data", JSONB(none_as_null=True), nullable=True, info=person_ref(erase=Erase.NULL)),
    Column("traceparent", Text, info=not_personal("trace id")),
    Column("causation_id", Uuid, info=not_personal("event id")),
    Column("correlation_id", Uuid, info=not_personal("event id")),
    Column("subject_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'"), info=person_ref(erase=Erase.NULL)),
    # The person is erased, the row is not relayed yet: redacted when the broker has confirmed it.
    Column("redact_on_relay", Integer, nullable=False, server_default=text("0"), info=not_personal("flag")),
    Column("relayed_at", _INSTANT, info=not_personal("instant")),
    Column("redacted_at", _INSTANT, info=not_personal("instant")),
    Index("ix_event_log_subject_ids", "subject_ids", postgresql_using="gin"),
    Index("ix_event_log_time", "time"),
    info=no_subject("log of own events, redacted by subject_ids; 90 days"),
)

outbox = Table(
    "outbox",
    PLATFORM,
    Column("position", BigInteger, primary_key=True, info=not_personal("pointer into event_log")),
    Column("key", Text, nullable=False, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("created_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    info=no_subject("pointer to an event that waits for its confirm; gone in seconds"),
)

inbox = Table(
    "inbox",
    PLATFORM,
    Column("event_id", Uuid, primary_key=True, info=not_personal("event id")),
    Column("type", Text, nullable=False, info=not_personal("event name")),
    Column("outcome", Text, nullable=False, server_default=text("'handled'"), info=not_personal("enum")),
    Column("received_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    Index("ix_inbox_received_at", "received_at"),
    info=no_subject("ids of handled events, against duplicates; 90 days"),
)

# What a local transport has confirmed to this subscriber and its lanes have not handled yet.
inbox_waiting = Table(
    "inbox_waiting",
    PLATFORM,
    Column("position", BigInteger, Identity(always=True), primary_key=True, info=not_personal("order")),
    Column("event_id", Uuid, nullable=False, unique=True, info=not_personal("event id")),
    Column("key", Text, nullable=False, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("body", LargeBinary, nullable=False, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("received_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    info=no_subject("deliveries of the local transport; gone once handled"),
)

# state: retry (due at retry_at), blocked (waits behind an earlier parked event of its key), dead.
inbox_parked = Table(
    "inbox_parked",
    PLATFORM,
    Column("position", BigInteger, Identity(always=True), primary_key=True, info=not_personal("order")),
    Column("event_id", Uuid, nullable=False, unique=True, info=not_personal("event id")),
    Column("tenant_id", Uuid, info=not_personal("tenant")),
    Column("type", Text, nullable=False, info=not_personal("event name")),
    Column("key", Text, nullable=False, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("body", LargeBinary, nullable=False, info=person_ref(erase=Erase.DELETE_ROW)),
    Column(
        "subject_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'"), info=person_ref(erase=Erase.DELETE_ROW)
    ),
    Column("state", Text, nullable=False, info=not_personal("enum")),
    Column("reason", Text, nullable=False, info=not_personal("error class and code, no input")),
    Column("attempts", Integer, nullable=False, server_default=text("0"), info=not_personal("count")),
    Column("retry_at", _INSTANT, info=not_personal("instant")),
    Column("parked_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    Index("ix_inbox_parked_key", "key"),
    Index("ix_inbox_parked_due", "state", "retry_at"),
    info=no_subject("events that could not be handled yet; deleted by subject at erasure"),
)

# The newest version seen per key, for @on(..., latest_only=True) copies of state.
watermarks = Table(
    "watermarks",
    PLATFORM,
    Column("type", Text, primary_key=True, info=not_personal("event name")),
    Column("key", Text, primary_key=True, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("epoch", Integer, nullable=False, info=not_personal("order")),
    Column("version", BigInteger, nullable=False, info=not_personal("order")),
    info=no_subject("order of copied state"),
)

# One leader per name on the database clock; epoch rises with each change of hands.
leases = Table(
    "leases",
    PLATFORM,
    Column("name", Text, primary_key=True, info=not_personal("lease name")),
    Column("holder", Uuid, nullable=False, info=not_personal("process id")),
    Column("epoch", BigInteger, nullable=False, server_default=text("1"), info=not_personal("order")),
    Column("expires_at", _INSTANT, nullable=False, info=not_personal("instant")),
    info=no_subject("leader election"),
)
