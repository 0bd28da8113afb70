"""A space full of people, made by set-based SQL: an account's rows lie scattered over each table, as in real use."""

from uuid import UUID

import asyncpg

SERVICES = ("identity", "booking", "feed")
# Ids carry version 7, as the services' own do.
THING = (
    "CREATE FUNCTION pg_temp.thing(kind int, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS"
    " $$ SELECT ('0190' || lpad(to_hex(kind), 4, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$"
)
FAST = "SET session_replication_role = replica; SET maintenance_work_mem = '256MB'; SET synchronous_commit = off"
PLAIN_INDEXES = (
    "SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i"
    " JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'public'::regnamespace AND NOT i.indisunique"
    " AND NOT i.indisexclusion"
)
LOG = """INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, subject_ids, relayed_at)
 SELECT pg_temp.thing(9, n), $T, '{type}', pg_temp.thing(9, n)::text, 1, now() - n * interval '10 seconds',
 jsonb_build_object('account_id', $WHO), ARRAY[$WHO], now() FROM generate_series(1, $N) n"""
PEOPLE = """INSERT INTO accounts (id, tenant_id, email, state, roles, language, created_at, last_seen_at, version)
 SELECT pg_temp.thing(1, n), $T, 'member' || n || '@example.org', 'active', '{member}', 'fr', now(), now(), 1
 FROM generate_series(1, $N) n;
INSERT INTO profiles (tenant_id, account_id, first_name, last_name, phone, position, department, skills, description,
 in_directory, hidden_fields, search_text, sort_name, version)
 SELECT $T, pg_temp.thing(1, n), 'Member', 'Number ' || n, '+33199' || n, 'engineer', 'research', '{python,sql}',
 'member since ' || n % 10, true, '{}', 'member number ' || md5(n::text), 'number ' || md5(n::text), 1
 FROM generate_series(1, $N) n;
INSERT INTO sessions (id, tenant_id, account_id, token_digest, rotated_at, created_at, authenticated_at, last_used_at,
 expires_at, device, address)
 SELECT pg_temp.thing(2, n), $T, $WHO, '\\x00', now(), now(), now(), now(), now() + interval '30 days',
 'Firefox on Linux', '203.0.113.7' FROM generate_series(1, $N) n;
INSERT INTO security_entries (id, tenant_id, account_id, happening, happened_at, device, address)
 SELECT pg_temp.thing(3, n), $T, $WHO, 'signed_in', now() - n * interval '1 second', 'Firefox on Linux', '203.0.113.7'
 FROM generate_series(1, 2 * $N) n"""
SLOTS = """INSERT INTO locations (id, tenant_id, name, address, time_zone, version)
 VALUES (pg_temp.thing(2, 1), $T, 'Valmy', '10 quai de Valmy', 'Europe/Paris', 1);
INSERT INTO resources (id, tenant_id, location_id, name, kind, capacity, units, hourly_price_minor, currency,
 vat_rate_bp, buffer_minutes, min_minutes, max_minutes, step_minutes, ahead_days, free_cancellation_hours,
 needs_approval, version)
 SELECT pg_temp.thing(3, n), $T, pg_temp.thing(2, 1), 'Desk ' || n, 'desk', 1, 1, 400, 'EUR', 2000, 0, 30, 480, 30,
 365, 24, false, 1 FROM generate_series(1, 100) n;
INSERT INTO reservations (id, tenant_id, resource_id, unit_no, account_id, starts_at, ends_at, blocked, state, note,
 price_minor, currency, vat_rate_bp, order_id, free_until, refund_minor, version)
 SELECT pg_temp.thing(4, n), $T, pg_temp.thing(3, n % 100 + 1), 1, $WHO, at, at + interval '1 hour',
 tstzrange(at, at + interval '1 hour'), CASE WHEN at > now() THEN 'confirmed' ELSE 'completed' END,
 CASE WHEN n % 3 = 0 THEN 'near the window, please' END, 400, 'EUR', 2000, pg_temp.thing(5, n), at - interval '1 day', 0, 1
 FROM generate_series(1, 10 * $N) n,
 LATERAL (SELECT date_trunc('hour', now()) + ((n - 98 * $N / 10) / 100) * interval '1 hour' AS at) AS slot"""
WORDS = """INSERT INTO posts (id, thread_id, tenant_id, author_id, body, is_announcement, created_at, version)
 SELECT pg_temp.thing(2, n), pg_temp.thing(2, n), $T, $WHO, 'Who joins for lunch number ' || n || ' at the canal?',
 false, now() - n * interval '1 minute', 1 FROM generate_series(1, 3 * $N) n;
INSERT INTO comments (id, thread_id, tenant_id, author_id, body, created_at, version)
 SELECT pg_temp.thing(3, n), pg_temp.thing(2, n), $T, $WHO, 'Avec plaisir ' || n, now(), 1
 FROM generate_series(1, $N) n;
INSERT INTO reactions (post_id, account_id, kind, tenant_id)
 SELECT pg_temp.thing(2, n), $WHO, 'like', $T FROM generate_series(1, $N) n;
INSERT INTO mentions (words_id, n, account_id, tenant_id)
 SELECT pg_temp.thing(2, n), 0, $WHO, $T FROM generate_series(1, $N) n"""
SCRIPTS = {
    "identity": f"{PEOPLE};\n{LOG.format(type='identity.account.registered.v1')}",
    "booking": f"{SLOTS};\n{LOG.format(type='booking.reservation.confirmed.v1')}",
    "feed": f"{WORDS};\n{LOG.format(type='feed.post.published.v1')}",
}


async def populate(superuser: asyncpg.Connection, service: str, tenant_id: UUID, *, accounts: int) -> None:
    """Fill a service's empty database: per account 10 reservations, 3 posts, 3 rows of security, 1 event per service."""
    await superuser.execute(FAST)
    await superuser.execute(THING)
    indexes = await superuser.fetch(PLAIN_INDEXES)
    for index in indexes:
        await superuser.execute(f"DROP INDEX {index['name']}")
    someone = f"pg_temp.thing(1, n * 7919::bigint % {accounts} + 1)"
    script = SCRIPTS[service].replace("$WHO", someone).replace("$T", f"'{tenant_id}'::uuid")
    for statement in script.replace("$N", str(accounts)).split(";\n"):
        await superuser.execute(statement)
    for index in indexes:
        await superuser.execute(index["definition"])
    await superuser.execute("VACUUM ANALYZE")
