"""What migrations make of rows that stand there already."""

from typing import Any

import asyncpg

from shared.db import uuid7
from shared.migrate import differences, upgrade
from tests.support.testing import SQLALCHEMY_SCHEME

BACK = """
ALTER TABLE sellers DROP CONSTRAINT uq_sellers_tenant_id;
ALTER TABLE quotes DROP COLUMN accepted_on;
DROP FUNCTION kept_until;
UPDATE alembic_version SET version_num = '20261130_index_what_waits'
WHERE version_num = '20261130_close_financial_years';
"""
SELLER = "INSERT INTO sellers (id, tenant_id, details, version) VALUES ($1, $2, $3, 1)"
ORDER = """
INSERT INTO orders (id, tenant_id, party_id, origin, state, currency, lines, created_at, version)
VALUES ($1, $2, $3, 'quote', 'due', 'EUR', '[]', '2026-12-31 23:30Z', 1)
"""
QUOTE = """
INSERT INTO quotes (id, tenant_id, party_id, number, year, issued_on, valid_until, state, currency, lines, total_minor,
 order_id, version) VALUES ($1, $2, $3, $4, 2026, '2026-12-20', '2027-01-19', $5, 'EUR', '[]', 0, $6, 1)
"""


async def test_the_seller_written_last_stays_and_accepted_quotes_say_when(databases: Any) -> None:
    owner_url = (await databases.clone("billing")).owner
    owner = await asyncpg.connect(owner_url.replace(SQLALCHEMY_SCHEME, "postgresql://"))
    try:
        await owner.execute(BACK)
        tenant, other, party, order = (uuid7() for _ in range(4))
        first, last, theirs = (uuid7() for _ in range(3))
        for row in ((first, tenant, "{}"), (last, tenant, '{"city": "Lyon"}'), (theirs, other, "{}")):
            await owner.execute(SELLER, *row)
        await owner.execute(ORDER, order, tenant, party)
        for number, state, its_order in ((1, "accepted", order), (2, "accepted", None), (3, "issued", None)):
            await owner.execute(QUOTE, uuid7(), tenant, party, number, state, its_order)
        await upgrade("billing", owner_url)
        assert {row["id"] for row in await owner.fetch("SELECT id FROM sellers")} == {last, theirs}
        quotes = await owner.fetch("SELECT accepted_on FROM quotes ORDER BY number")
        assert [str(row["accepted_on"]) for row in quotes] == ["2027-01-01", "2027-01-19", "None"]
        assert await differences("billing", owner_url) == []
    finally:
        await owner.close()
