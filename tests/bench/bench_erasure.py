"""A whole tenant erased by the services' own engine, against hand-written set-based SQL on a copy of the same data."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import asyncpg
from sqlalchemy import text

from shared.db import Database, uuid7
from shared.migrate import metadata_of
from shared.privacy.erasure import Eraser
from shared.privacy.manifest import Manifest
from tests.bench.figures import Figure, at_least, bench, timed
from tests.bench.population import SERVICES, populate
from tests.bench.stand import Stand
from tests.support.testing import SQLALCHEMY_SCHEME

BY_HAND = {
    "identity": """DELETE FROM security_entries WHERE tenant_id = $1; DELETE FROM sessions WHERE tenant_id = $1;
 DELETE FROM links WHERE tenant_id = $1; DELETE FROM past_passwords WHERE tenant_id = $1;
 DELETE FROM profiles WHERE tenant_id = $1; DELETE FROM accounts WHERE tenant_id = $1""",
    "booking": """UPDATE reservations SET state = 'cancelled', cancelled_for = 'tenant_deactivated',
 refund_minor = price_minor, version = version + 1
 WHERE tenant_id = $1 AND state IN ('requested', 'confirmed') AND starts_at > now();
 UPDATE reservations SET account_id = NULL, note = NULL, order_id = NULL, decided_by = NULL WHERE tenant_id = $1""",
    "feed": """DELETE FROM reactions WHERE tenant_id = $1; DELETE FROM edits WHERE tenant_id = $1;
 UPDATE mentions SET account_id = NULL WHERE tenant_id = $1;
 UPDATE comments SET author_id = gen_random_uuid(), body = NULL WHERE tenant_id = $1;
 UPDATE posts SET author_id = gen_random_uuid(), body = NULL WHERE tenant_id = $1""",
}
EVERYWHERE = """INSERT INTO tombstones (digest) VALUES (tombstone_digest($1, $1));
 UPDATE event_log SET data = NULL, key = NULL, subject_ids = '{}', redacted_at = now()
 WHERE tenant_id = $1 AND subject_ids <> '{}' AND type NOT LIKE '%erased%'"""
# What both sides must have made of the same rows; random surrogates are told by their version alone.
STATES = {
    "identity": "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM profiles), (SELECT count(*) FROM sessions),"
    " (SELECT count(*) FROM security_entries)",
    "booking": "SELECT count(*), sum(hashtextextended(concat(id, state, account_id, note, order_id, refund_minor, version),"
    " 0)) FROM reservations",
    "feed": "SELECT count(*), sum(hashtextextended(concat(id, body, substr(author_id::text, 15, 1), search), 0)),"
    " (SELECT count(*) FROM comments WHERE body IS NULL AND substr(author_id::text, 15, 1) = '4'),"
    " (SELECT count(*) FROM reactions), (SELECT count(account_id) FROM mentions) FROM posts",
}
LOG_STATE = "SELECT count(*) FROM event_log WHERE redacted_at IS NOT NULL AND data IS NULL AND subject_ids = '{}'"


@bench("tenant-erasure")
async def tenant_erasure(stand: Stand) -> Sequence[Figure]:
    accounts, tenant_id = stand.many(100_000, least=1000), uuid7()
    urls = {service: (await stand.databases.clone(service)).app for service in SERVICES}
    names = {service: url.rsplit("/", 1)[1] for service, url in urls.items()}
    await _each(lambda service: fill(stand, names[service], service, tenant_id, accounts))
    copies = {service: await _copy(stand, names[service]) for service in SERVICES}
    ours = await timed(accounts, lambda: _each(lambda service: erase(service, urls[service], tenant_id)))
    hand = await timed(accounts, lambda: _each(lambda service: _by_hand(stand, copies[service], service, tenant_id)))
    for service in SERVICES:
        assert await _state(stand, names[service], service) == await _state(stand, copies[service], service), service
    goals = (at_least("ratio", 0.8),)
    notes = {"seconds": ours.seconds, "by_hand_seconds": hand.seconds, "accounts": float(accounts)}
    ratio = ours.rate / hand.rate
    return [Figure("tenant erasure", ours.rate, "accounts/s", hand.rate, ratio, goals, record="0023", notes=notes)]


async def _each(work: Callable[[str], Awaitable[None]]) -> None:
    await asyncio.gather(*(work(service) for service in SERVICES))


async def fill(stand: Stand, database: str, service: str, tenant_id: UUID, accounts: int) -> None:
    connection = await asyncpg.connect(stand.postgres.admin_url, database=database)
    await populate(connection, service, tenant_id, accounts=accounts)
    await connection.close()


async def _copy(stand: Stand, database: str) -> str:
    admin = await asyncpg.connect(stand.postgres.admin_url)
    await admin.execute(f"CREATE DATABASE {database}_copy TEMPLATE {database} STRATEGY FILE_COPY")
    await admin.close()
    return f"{database}_copy"


async def erase(service: str, url: str, tenant_id: UUID) -> None:
    """Run the service's own eraser from the tenant's deactivation to the receipt."""
    assert url.startswith(SQLALCHEMY_SCHEME)
    module = importlib.import_module(f"services.{service}.personal_data")
    hooks = module.personal_data if service == "identity" else module.PERSONAL_DATA
    eraser = Eraser(service, Manifest.of(service, metadata_of(service), hooks.stores), hooks)
    database = Database(url)
    async with database.transaction(tenant_id) as session:
        await eraser.start_tenant(session, case_id=uuid7())
    while await eraser.erase_batch(database):
        continue
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT outcome FROM erasures")) == "DONE"
    await database.close()


async def _by_hand(stand: Stand, database: str, service: str, tenant_id: UUID) -> None:
    connection = await asyncpg.connect(stand.postgres.admin_url, database=database)
    await connection.execute("SET cowork.erasing = 'on'")
    for statement in f"{EVERYWHERE};{BY_HAND[service]}".split(";"):
        await connection.execute(statement, tenant_id)
    await connection.close()


async def _state(stand: Stand, database: str, service: str) -> list[object]:
    connection = await asyncpg.connect(stand.postgres.admin_url, database=database)
    state = [tuple(await connection.fetchrow(query)) for query in (STATES[service], LOG_STATE)]
    await connection.close()
    return state
