"""People of twenty rows in six tables on the running suite: 4 posts, 4 comments, 3 tickets, 4 reservations, 4 notices, 1 profile."""

from uuid import UUID

import asyncpg

from tests.bench.population import FAST
from tests.bench.space import Space

ROWS = 20
ACCOUNTS = """WITH admin AS (SELECT * FROM accounts WHERE email = $1), made AS (
 INSERT INTO accounts (id, tenant_id, email, password_hash, password_changed_at, state, roles, language, created_at, version)
 SELECT gen_random_uuid(), tenant_id, 'person' || n || email, password_hash, now(), 'active', '{member}', 'en', now(), 1
 FROM admin, generate_series(1, $2) n RETURNING tenant_id, id)
INSERT INTO profiles (tenant_id, account_id, first_name, last_name, phone, position, department, skills, description,
 in_directory, hidden_fields, search_text, sort_name, version)
SELECT tenant_id, id, 'Ada', 'Martin', '+33199000000', 'engineer', '', '{python}', 'since May', true, '{}',
 'ada martin engineer python', 'martin ada', 1 FROM made RETURNING tenant_id, account_id"""
# Three reservations are past and one is to come, which erasure cancels and announces.
SCRIPTS = {
    "feed": """WITH posted AS (
 INSERT INTO posts (id, thread_id, tenant_id, author_id, body, is_announcement, version)
 SELECT id, id, $T, account, 'Who joins for lunch at the canal?', false, 1
 FROM (SELECT gen_random_uuid() AS id, account FROM unnest($WHO) account, generate_series(1, 4)) made
 RETURNING id, author_id)
INSERT INTO comments (id, thread_id, tenant_id, author_id, body, version)
SELECT gen_random_uuid(), id, $T, author_id, 'Avec plaisir', 1 FROM posted""",
    "helpdesk": """INSERT INTO tickets (id, tenant_id, requester_id, subject, category, priority, state, version)
SELECT gen_random_uuid(), $T, account, 'Badge', 'access', 'normal', 'new', 1
FROM unnest($WHO) account, generate_series(1, 3)""",
    "booking": """WITH place AS (
 INSERT INTO locations (id, tenant_id, name, address, time_zone, version)
 VALUES (gen_random_uuid(), $T, 'Valmy', '10 quai de Valmy', 'Europe/Paris', 1) RETURNING id), desk AS (
 INSERT INTO resources (id, tenant_id, location_id, name, kind, capacity, units, hourly_price_minor, currency,
  vat_rate_bp, buffer_minutes, min_minutes, max_minutes, step_minutes, ahead_days, free_cancellation_hours,
  needs_approval, version)
 SELECT gen_random_uuid(), $T, id, 'Desk', 'desk', 1, 1, 400, 'EUR', 2000, 0, 30, 480, 30, 365, 24, false, 1
 FROM place RETURNING id)
INSERT INTO reservations (id, tenant_id, resource_id, unit_no, account_id, starts_at, ends_at, blocked, state, note,
 price_minor, currency, vat_rate_bp, free_until, refund_minor, version)
SELECT gen_random_uuid(), $T, desk.id, 1, account, at, at + interval '1 hour', tstzrange(at, at + interval '1 hour'),
 CASE WHEN n = 1 THEN 'confirmed' ELSE 'completed' END, 'near the window, please', 400, 'EUR', 2000, at - interval '1 day', 0, 1
FROM desk, unnest($WHO) WITH ORDINALITY people(account, number), generate_series(1, 4) n,
 LATERAL (SELECT date_trunc('hour', now()) + (2 - n) * interval '300 days' + number * interval '1 hour' AS at) AS slot""",
    "notify": """INSERT INTO notices (id, tenant_id, account_id, event_id, kind, about)
SELECT gen_random_uuid(), $T, account, gen_random_uuid(), 'reservation_confirmed', '{}'
FROM unnest($WHO) account, generate_series(1, 4)""",
}
COUNTS = {
    "identity": "SELECT count(*) FROM profiles WHERE account_id = ANY($WHO)",
    "feed": "SELECT (SELECT count(*) FROM posts WHERE author_id = ANY($WHO))"
    " + (SELECT count(*) FROM comments WHERE author_id = ANY($WHO))",
    "helpdesk": "SELECT count(*) FROM tickets WHERE requester_id = ANY($WHO)",
    "booking": "SELECT count(*) FROM reservations WHERE account_id = ANY($WHO)",
    "notify": "SELECT count(*) FROM notices WHERE account_id = ANY($WHO)",
}


async def settle(space: Space, count: int) -> tuple[UUID, list[UUID]]:
    """Add people to a space; return its tenant and their accounts."""
    rows = await space.suite.query("identity", ACCOUNTS, space.admin.email, count)
    tenant_id, people = rows[0]["tenant_id"], [row["account_id"] for row in rows]
    for service, script in SCRIPTS.items():
        connection = await space.suite.superuser(service)
        await connection.execute(FAST)
        await connection.execute(_filled(script, tenant_id, people))
        await connection.close()
    assert await rows_of(space, people) == ROWS * count
    return tenant_id, people


async def rows_of(space: Space, people: list[UUID]) -> int:
    """Return how many rows still name these people."""
    found = 0
    for service, query in COUNTS.items():
        connection: asyncpg.Connection = await space.suite.superuser(service)
        found += await connection.fetchval(query.replace("$WHO", "$1::uuid[]"), people)
        await connection.close()
    return found


def _filled(script: str, tenant_id: UUID, people: list[UUID]) -> str:
    accounts = "{" + ",".join(map(str, people)) + "}"
    return script.replace("$WHO", f"'{accounts}'::uuid[]").replace("$T", f"'{tenant_id}'::uuid")
