"""The ledger database's tables: hashes, enums, numbers and instants only, and the database refuses anything else."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Identity, LargeBinary, Table, Text, Uuid, text

from shared.db import service_metadata
from shared.privacy.marks import no_subject, not_personal

LEDGER = service_metadata()
_INSTANT = DateTime(timezone=True)

# One erased subject each. `previous_hash` and `hash` chain them; the first one of all has no previous.
entries = Table(
    "entries",
    LEDGER,
    Column("position", BigInteger, Identity(always=True), primary_key=True, info=not_personal("order")),
    Column("subject_hmac", LargeBinary, nullable=False, unique=True, info=not_personal("keyed hash")),
    Column("outcome", Text, nullable=False, info=not_personal("enum")),
    Column("content", Text, nullable=False, info=not_personal("enum")),
    Column("manifests_digest", LargeBinary, nullable=True, info=not_personal("digest of the services' manifests")),
    Column("erased_at", _INSTANT, nullable=False, info=not_personal("instant")),
    Column("previous_hash", LargeBinary, nullable=True, info=not_personal("chain")),
    Column("hash", LargeBinary, nullable=False, info=not_personal("chain")),
    CheckConstraint("octet_length(subject_hmac) = 32 AND octet_length(hash) = 32", name="hashes"),
    CheckConstraint("octet_length(manifests_digest) = 32 AND octet_length(previous_hash) = 32", name="optional_hashes"),
    CheckConstraint("outcome IN ('commanded', 'completed', 'completed_with_retention')", name="outcome"),
    CheckConstraint("content IN ('keep', 'remove')", name="content"),
    info=no_subject("keyed hashes of erased subjects"),
)

# Where the chain stood. `pruned` > 0: the entries up to here are gone because of their age, so many until now in all.
checkpoints = Table(
    "checkpoints",
    LEDGER,
    Column("position", BigInteger, primary_key=True, autoincrement=False, info=not_personal("order")),
    Column("hash", LargeBinary, nullable=False, info=not_personal("chain")),
    Column("pruned", BigInteger, nullable=False, info=not_personal("count")),
    Column("made_at", _INSTANT, nullable=False, server_default=text("now()"), info=not_personal("instant")),
    Column("seal", LargeBinary, nullable=False, info=not_personal("keyed hash of the checkpoint")),
    CheckConstraint("octet_length(hash) = 32 AND octet_length(seal) = 32", name="hashes"),
    CheckConstraint("pruned >= 0", name="pruned"),
    info=no_subject("state of the chain"),
)

# One row: which ledger this is. It goes along with dumps, so that a new and empty one is never taken for the one of a backup.
origin = Table(
    "origin",
    LEDGER,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()"), info=not_personal("random id")),
    info=no_subject("the ledger's own name"),
)

# The last backup, the last restore and the last drill, for `cowork doctor`.
runs = Table(
    "runs",
    LEDGER,
    Column("kind", Text, primary_key=True, info=not_personal("enum")),
    Column("finished_at", _INSTANT, nullable=False, info=not_personal("instant")),
    Column("databases", BigInteger, nullable=False, info=not_personal("count")),
    Column("files", BigInteger, nullable=False, info=not_personal("count")),
    Column("bytes", BigInteger, nullable=False, info=not_personal("size")),
    Column("subjects", BigInteger, nullable=False, info=not_personal("count of erasures replayed")),
    CheckConstraint("kind IN ('backup', 'restore', 'drill')", name="kind"),
    info=no_subject("when backups were made and tried"),
)
