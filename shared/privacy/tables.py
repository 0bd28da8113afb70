"""The privacy engine's own tables, in every service's database, outside row security: jobs and sweeps walk all tenants."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.db import PLATFORM
from shared.privacy.marks import Erase, no_subject, not_personal, person_ref

_INSTANT = DateTime(timezone=True)

# Copy of identity's tenants; the only list of tenants that jobs walk.
tenants = Table(
    "tenants",
    PLATFORM,
    Column("tenant_id", Uuid, primary_key=True, info=not_personal("tenant")),
    Column("slug", Text, nullable=False, unique=True, info=not_personal("public name of an organisation")),
    Column("languages", Text, nullable=False, info=not_personal("language codes, comma separated")),
    Column("default_language", Text, nullable=False, info=not_personal("language code")),
    Column("time_zone", Text, nullable=False, info=not_personal("IANA zone")),
    Column("is_active", Boolean, nullable=False, server_default=text("true"), info=not_personal("state")),
    info=no_subject("organisations"),
)

# Keys the digests below; the application role cannot read it.
tombstone_key = Table(
    "tombstone_key",
    PLATFORM,
    Column("key", LargeBinary, primary_key=True, info=not_personal("random key of this service")),
    info=no_subject("one random key"),
)

# Who never comes back, by keyed digest: the account id itself is not kept. Lives as long as the erasure ledger.
tombstones = Table(
    "tombstones",
    PLATFORM,
    Column("digest", LargeBinary, primary_key=True, info=not_personal("keyed digest of tenant and subject")),
    Column("laid_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    info=no_subject("keyed digests of erased subjects"),
)

# One row per case: what this service answered. The account id goes when the case completes.
erasures = Table(
    "erasures",
    PLATFORM,
    Column("case_id", Uuid, primary_key=True, info=not_personal("case")),
    Column("tenant_id", Uuid, nullable=False, info=not_personal("tenant")),
    Column("account_id", Uuid, nullable=True, info=person_ref(erase=Erase.NULL)),
    Column("is_tenant", Boolean, nullable=False, server_default=text("false"), info=not_personal("kind")),
    Column("content", Text, nullable=False, info=not_personal("enum")),
    Column("outcome", Text, nullable=True, info=not_personal("enum")),
    Column("counts", JSONB, nullable=False, server_default=text("'{}'"), info=not_personal("rows per rule")),
    Column("retained", JSONB, nullable=False, server_default=text("'[]'"), info=not_personal("grounds, dates, counts")),
    Column("done", Integer, nullable=False, server_default=text("0"), info=not_personal("progress")),
    Column("total", Integer, nullable=False, server_default=text("0"), info=not_personal("progress")),
    # A tenant's: which walk is under way, the block from which it goes on (NULL: not begun), and its last one.
    Column("step", Integer, nullable=True, info=not_personal("progress")),
    Column("next_block", BigInteger, nullable=True, info=not_personal("progress")),
    Column("last_block", BigInteger, nullable=True, info=not_personal("progress")),
    Column("started_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    Column("worked_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    Column("answered_at", _INSTANT, nullable=True, info=not_personal("instant")),
    info=no_subject("erasure cases and their answers"),
)

file_deletions = Table(
    "file_deletions",
    PLATFORM,
    Column("id", BigInteger, Identity(always=True), primary_key=True, info=not_personal("order")),
    Column("case_id", Uuid, nullable=True, info=not_personal("case")),
    Column("path", Text, nullable=False, info=not_personal("random key of a file that is about to go")),
    Index("ix_file_deletions_case_id", "case_id"),
    info=no_subject("files to delete after commit"),
)

holds = Table(
    "holds",
    PLATFORM,
    Column("tenant_id", Uuid, primary_key=True, info=not_personal("tenant")),
    Column("account_id", Uuid, primary_key=True, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("ground", Text, nullable=False, info=not_personal("enum")),
    Column("review_on", Date, nullable=False, info=not_personal("date")),
    info=no_subject("legal holds: the hold itself is what must outlive the request"),
)

# Stores of the bus and of this engine: redaction and case completion empty them, not the planner.
OWN_STORES = frozenset(
    {
        "event_log", "outbox", "inbox", "inbox_waiting", "inbox_parked", "watermarks", "leases", "scheduled_jobs",
        "tenants", "tombstone_key", "tombstones", "erasures", "file_deletions", "holds",
    }
)  # fmt: skip
