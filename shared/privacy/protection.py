"""DDL that is derived from the marks and renewed after every migration: row security, grants, guards, no statistics."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint

from shared.db import PLATFORM
from shared.privacy.manifest import column_mark, table_mark
from shared.privacy.marks import Link, NotPersonal, Personal, Subject
from shared.privacy.rules import is_erased_reference
from shared.privacy.tables import OWN_STORES

ERASED_SQLSTATE = "CW410"
# Names of derived indexes start with this; they are no part of the models.
PERSON_INDEX = "person_"

# Subjects share this many locks: a transaction that writes about 100,000 people must not fill the lock table, and an
# erasure holds up one writer in a thousand for its few milliseconds.
LOCKS = 1024

FUNCTIONS = (
    "INSERT INTO tombstone_key (key) SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''),"
    " 'hex') WHERE NOT EXISTS (SELECT FROM tombstone_key)",
    # SECURITY DEFINER: the application role may compare digests, never read the key. The tables are named with their
    # schema instead of a `SET search_path`, which would double the price of every guarded row.
    "CREATE OR REPLACE FUNCTION tombstone_digest(tenant uuid, subject uuid) RETURNS bytea LANGUAGE sql STABLE"
    " SECURITY DEFINER AS $$ SELECT sha256(key || uuid_send(tenant) || uuid_send(subject)) FROM public.tombstone_key $$",
    # A tenant's own tombstone covers everybody in it.
    "CREATE OR REPLACE FUNCTION are_tombstoned(tenant uuid, subjects uuid[]) RETURNS boolean LANGUAGE plpgsql VOLATILE"
    " SECURITY DEFINER AS $$ BEGIN RETURN EXISTS (SELECT FROM public.tombstone_key k CROSS JOIN"
    " unnest(subjects || tenant) AS s JOIN public.tombstones t ON t.digest = sha256(k.key || uuid_send(tenant)"
    " || uuid_send(s))); END $$",
    "CREATE OR REPLACE FUNCTION is_tombstoned(tenant uuid, subject uuid) RETURNS boolean LANGUAGE sql VOLATILE AS $$"
    " SELECT are_tombstoned(tenant, ARRAY[subject]) $$",
    "CREATE OR REPLACE FUNCTION subject_lock(tenant uuid, subject uuid) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$"
    " SELECT CASE WHEN subject = tenant THEN uuid_hash_extended(tenant, 0)"
    f" ELSE uuid_hash_extended(subject, uuid_hash_extended(tenant, 0)) & {LOCKS - 1} END $$",
    # Shared locks first, then the look: an erasure that holds the exclusive lock has committed its tombstone by then.
    "CREATE OR REPLACE FUNCTION refuse_erased(tenant uuid, subjects uuid[]) RETURNS void LANGUAGE plpgsql AS $$"
    " DECLARE person uuid; BEGIN"
    " PERFORM pg_advisory_xact_lock_shared(subject_lock(tenant, tenant));"
    " FOREACH person IN ARRAY subjects LOOP"
    "  IF person IS NOT NULL THEN PERFORM pg_advisory_xact_lock_shared(subject_lock(tenant, person)); END IF;"
    " END LOOP;"
    " IF are_tombstoned(tenant, subjects) THEN"
    f"  RAISE EXCEPTION 'the subject of this row is erased' USING ERRCODE = '{ERASED_SQLSTATE}';"
    " END IF; END $$",
    # A fresh random salt per transaction, never stored, makes these ids random to everybody afterwards (version 4 bits).
    "CREATE OR REPLACE FUNCTION surrogate(salt bytea, scope text, account uuid) RETURNS uuid LANGUAGE sql IMMUTABLE"
    " STRICT AS $$ SELECT encode(set_byte(set_byte(substring(h FROM 1 FOR 16), 6, (get_byte(h, 6) & 15) | 64), 8,"
    " (get_byte(h, 8) & 63) | 128), 'hex')::uuid FROM (SELECT sha256(salt || convert_to(scope, 'UTF8')"
    " || uuid_send(account)) AS h) digest $$",
)


def statements(metadata: MetaData, app_role: str) -> Iterator[str]:
    """Yield the idempotent DDL for a service's database, in order."""
    yield from FUNCTIONS
    yield from _grants(app_role)
    for table in metadata.sorted_tables:
        yield from _row_security(table)
        yield from _queues(table)
    for table in (*metadata.sorted_tables, *PLATFORM.sorted_tables):
        yield from _no_statistics(table)
        yield from _person_indexes(table)
        yield from _guard(table)


def _grants(role: str) -> Iterator[str]:
    yield f"GRANT USAGE ON SCHEMA public TO {role}"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    yield f"REVOKE ALL ON tombstone_key, alembic_version FROM {role}"
    # Nobody is let back in: a tombstone is laid, never changed or lifted.
    yield f"REVOKE UPDATE, DELETE ON tombstones FROM {role}"
    # The log is append-only but for its relay and redaction columns, and its age.
    yield f"REVOKE UPDATE ON event_log FROM {role}"
    yield f"GRANT UPDATE (relayed_at, redact_on_relay, redacted_at, data, key, subject_ids) ON event_log TO {role}"


def _row_security(table: Table) -> Iterator[str]:
    if "tenant_id" not in table.columns:
        return
    own = "tenant_id = nullif(current_setting('cowork.tenant', true), '')::uuid"
    yield f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY"
    yield f"DROP POLICY IF EXISTS tenant ON {table.name}"
    yield f"CREATE POLICY tenant ON {table.name} USING ({own}) WITH CHECK ({own})"


def _queues(table: Table) -> Iterator[str]:
    """Row security shows a job one tenant at a time; the owner says in which of them something waits, hopping from one to
    the next in the index, however much waits there. An id of a tenant is all that it tells."""
    for index in table.indexes:
        if "is_queue" in index.info:
            waiting = f"FROM public.{table.name} WHERE {index.dialect_options['postgresql']['where']}"
            yield f"""CREATE OR REPLACE FUNCTION tenants_in_{index.name}() RETURNS SETOF uuid LANGUAGE sql STABLE
 SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, public, pg_temp AS $$ WITH RECURSIVE found AS (
 (SELECT tenant_id AS one {waiting} ORDER BY tenant_id LIMIT 1) UNION ALL SELECT
 (SELECT tenant_id {waiting} AND tenant_id > one ORDER BY tenant_id LIMIT 1) FROM found WHERE one IS NOT NULL)
 SELECT one FROM found WHERE one IS NOT NULL $$"""


def _no_statistics(table: Table) -> Iterator[str]:
    """pg_stats would keep returning erased values: the application role may not ANALYZE."""
    sensitive = [c for c in table.columns if not isinstance(column_mark(c), NotPersonal)]
    for column in sensitive:
        yield f"ALTER TABLE {table.name} ALTER COLUMN {column.name} SET STATISTICS 0"
    if sensitive:
        yield _EXPRESSION_INDEXES.format(table=table.name)


_EXPRESSION_INDEXES = """DO $$ DECLARE found record; BEGIN
 FOR found IN SELECT i.indexrelid::regclass AS index, a.attnum FROM pg_index i
  JOIN pg_attribute a ON a.attrelid = i.indexrelid WHERE i.indrelid = '{table}'::regclass AND i.indexprs IS NOT NULL
  AND i.indkey[a.attnum - 1] = 0
 LOOP EXECUTE format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS 0', found.index, found.attnum); END LOOP; END $$"""


def _person_indexes(table: Table) -> Iterator[str]:
    """Erasing one person must not read the whole table: what leads to people and no index of the models serves gets one."""
    mark = table_mark(table)
    if table.name in OWN_STORES:
        return
    for column in table.columns:
        is_path = isinstance(mark, Subject) and column.name == mark.column
        if (is_path or is_erased_reference(column)) and not _is_indexed(table, column):
            yield (
                f"CREATE INDEX IF NOT EXISTS {PERSON_INDEX}{table.name}_{column.name} ON {table.name}"
                f" ({column.name}) WHERE {column.name} IS NOT NULL"
            )


def _is_indexed(table: Table, column: Column[Any]) -> bool:
    """Whether an index starts with the column, or with the tenant (which row security adds) and the column."""
    keys = [c.columns for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint)]
    whole = [i.expressions for i in table.indexes if i.dialect_options["postgresql"]["where"] is None]
    parts: list[Iterable[Any]] = [*keys, *whole]
    served = [[getattr(part, "name", None) for part in one] for one in parts]
    return any(names[:1] == [column.name] or names[:2] == ["tenant_id", column.name] for names in served)


def _guard(table: Table) -> Iterator[str]:
    """The tombstone triggers: nobody comes back through an INSERT or an UPDATE that sets something new.

    Conditions stand in WHEN, so that an erasure and an UPDATE of anything else do not even call the function.
    """
    mark, name = table_mark(table), table.name
    references = [c.name for c in table.columns if is_erased_reference(c)]
    is_exempt = name in _UNGUARDED or (isinstance(mark, Subject) and not mark.guard)
    if is_exempt or "tenant_id" not in table.columns or not (references or isinstance(mark, Subject)):
        yield f"DROP TRIGGER IF EXISTS guard ON {name}"
        yield f"DROP TRIGGER IF EXISTS guard_update ON {name}"
        return
    owner = _owner(mark) if isinstance(mark, Subject) else None
    subjects = list(dict.fromkeys([*(f"NEW.{one}" for one in references), *filter(None, [owner])]))
    yield f"""CREATE OR REPLACE FUNCTION guard_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
 PERFORM refuse_erased(NEW.tenant_id, ARRAY[{", ".join(subjects)}]::uuid[]);
 RETURN NEW; END $$"""
    yield (
        f"CREATE OR REPLACE TRIGGER guard BEFORE INSERT ON {name} FOR EACH ROW WHEN ({_NOT_ERASING})"
        f" EXECUTE FUNCTION guard_{name}()"
    )
    yield from _guard_updates(table, references, owner)


def _guard_updates(table: Table, references: list[str], owner: str | None) -> Iterator[str]:
    name = table.name
    personal = [c.name for c in table.columns if isinstance(column_mark(c), Personal | Link) and c.computed is None]
    set_anew = [_is_set_anew(column) for column in [*references, *(personal if owner is not None else [])]]
    if not set_anew:
        return
    new = [f"CASE WHEN {_is_set_anew(one)} THEN NEW.{one} END" for one in references]
    if owner is not None and personal:
        new.append(f"CASE WHEN {' OR '.join(map(_is_set_anew, personal))} THEN {owner} END")
    yield f"""CREATE OR REPLACE FUNCTION guard_update_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
 PERFORM refuse_erased(NEW.tenant_id, ARRAY[{", ".join(new)}]::uuid[]);
 RETURN NEW; END $$"""
    yield (
        f"CREATE OR REPLACE TRIGGER guard_update BEFORE UPDATE ON {name} FOR EACH ROW"
        f" WHEN ({_NOT_ERASING} AND ({' OR '.join(set_anew)})) EXECUTE FUNCTION guard_update_{name}()"
    )


_NOT_ERASING = "current_setting('cowork.erasing', true) IS DISTINCT FROM 'on'"


def _is_set_anew(column: str) -> str:
    return f"(NEW.{column} IS NOT NULL AND NEW.{column} IS DISTINCT FROM OLD.{column})"


def _owner(mark: Subject) -> str:
    if mark.via is None:
        return f"NEW.{mark.column}"
    via = mark.via
    return f"(SELECT {via.account} FROM {via.table} WHERE {via.key} = NEW.{mark.column})"


# Stores that erasure itself writes about erased people, or that take late messages in.
_UNGUARDED = frozenset({"erasures", "holds", "revoked_sessions"})
