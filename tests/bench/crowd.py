"""Feeds and directories of any size in one tenant, made by set-based SQL; names are syllables, so that trigrams repeat."""

from uuid import UUID

import asyncpg

from tests.bench.population import FAST, PLAIN_INDEXES, THING

POSTS = """INSERT INTO posts (id, thread_id, tenant_id, author_id, body, is_announcement, created_at, version)
 SELECT pg_temp.thing(2, n), pg_temp.thing(2, n), $T, pg_temp.thing(1, n % 1000), 'Lunch ' || n % 5000, false,
 now() - n * interval '1 minute', 1 FROM generate_series(1, $N) n;
INSERT INTO comments (id, thread_id, tenant_id, author_id, body, created_at, version)
 SELECT pg_temp.thing(3, n), pg_temp.thing(2, n * 4), $T, pg_temp.thing(1, n % 1000), 'Me', now(), 1
 FROM generate_series(1, $N / 4) n"""
# Four of 64 syllables make a family name: 16 million names that share their trigrams, as names do.
MEMBERS = """CREATE FUNCTION pg_temp.family(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
 SELECT string_agg(substr('bdfglmnprstvzckh', 1 + (h >> (6 * i) & 15)::int, 1)
 || (ARRAY['a', 'e', 'ou', 'in'])[1 + (h >> (6 * i + 4) & 3)::int], '')
 FROM (SELECT hashint8(n)::bigint & 4294967295 AS h) hashed, generate_series(0, 3) i $$;
INSERT INTO accounts (id, tenant_id, email, state, roles, language, created_at, version)
 SELECT pg_temp.thing(1, n), $T, n || '@example.org', 'active', '{member}', 'fr', now(), 1
 FROM generate_series(1, $N) n;
INSERT INTO profiles (tenant_id, account_id, first_name, last_name, phone, position, department, skills, description,
 in_directory, hidden_fields, search_text, sort_name, version)
 SELECT $T, pg_temp.thing(1, n), 'Élodie', initcap(family), '', 'Engineer', '', '{}', '', true, '{}',
 'elodie ' || family || ' engineer', family || ' elodie', 1
 FROM generate_series(1, $N) n, LATERAL (SELECT pg_temp.family(n) AS family OFFSET 0) AS named"""
SCRIPTS = {"feed": POSTS, "identity": MEMBERS}


async def crowd(superuser: asyncpg.Connection, service: str, tenant_id: UUID, *, rows: int) -> None:
    """Fill a service's empty database with this many posts (a comment on every fourth), or members."""
    await superuser.execute(FAST)
    await superuser.execute(THING)
    indexes = await superuser.fetch(PLAIN_INDEXES)
    for index in indexes:
        await superuser.execute(f"DROP INDEX {index['name']}")
    script = SCRIPTS[service].replace("$T", f"'{tenant_id}'::uuid").replace("$N", str(rows))
    for statement in script.split(";\n"):
        await superuser.execute(statement)
    for index in indexes:
        await superuser.execute(index["definition"])
    await superuser.execute("VACUUM ANALYZE")
