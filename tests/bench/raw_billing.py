"""The raw limit of finalizing: asyncpg, prepared statements, the same rows behind the same locked counter row."""

import json
import secrets
from datetime import date, timedelta
from hashlib import sha256
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from tests.support.testing import SQLALCHEMY_SCHEME

LINES = [{"text": "Pass journée", "quantity": 1, "unit_minor": 2400, "vat_rate_bp": 2000, "nature": "services"}]
VAT = [{"rate_bp": 2000, "base_minor": 2000, "vat_minor": 400, "gross_minor": 2400}]
SELLER = {"legal_name": "Canal SAS", "street": "1 quai", "postcode": "75010", "city": "Paris", "siren": "123456789"}

ENTER = "SELECT set_config('cowork.tenant', $1, true)"
LOCK_ORDER = "SELECT party_id, lines, currency, state FROM orders WHERE id = $1 FOR UPDATE"
TAKE = """
INSERT INTO series (tenant_id, kind, last_on, last_number) VALUES ($1, 'invoice', $2, 1)
ON CONFLICT (tenant_id, kind) DO UPDATE SET last_number = series.last_number + 1 RETURNING last_number, last_hash
"""
WRITE = """
WITH noted AS (UPDATE series SET last_hash = $12 WHERE tenant_id = $2 AND kind = 'invoice'),
 closed AS (UPDATE orders SET state = 'invoiced', version = version + 1 WHERE id = $5),
 made AS (
 INSERT INTO documents (id, tenant_id, kind, year, number, party_id, order_id, issued_on, due_on, language, currency,
  lines, vat, total_minor, seller, buyer, salt, buyer_digest, previous_hash, hash, finalized_at)
 VALUES ($1, $2, 'invoice', extract(year FROM $6::date), $3, $4, $5, $6, $6 + 30, 'en', 'EUR', $7, $8, 2400, $9, $10,
  $11, $13, $14, $12, now())),
 logged AS (
 INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, subject_ids)
 VALUES ($15, $2, 'billing.invoice.issued.v1', $5::text, 1, now(), $16, $17) RETURNING position, key),
 pointed AS (INSERT INTO outbox (position, key) SELECT position, key FROM logged)
INSERT INTO claims (tenant_id, invoice_id, party_id, open_minor, version) VALUES ($2, $1, $4, 2400, 1)
"""


async def place_due_orders(owner_url: str, tenant_id: UUID, count: int) -> list[UUID]:
    """Make a seller, a buyer and as many orders to be invoiced; return the orders' ids."""
    owner = await asyncpg.connect(owner_url.replace(SQLALCHEMY_SCHEME, "postgresql://"))
    try:
        party = uuid7()
        seller = (uuid7(), tenant_id, json.dumps(SELLER), 1)
        await owner.execute("INSERT INTO sellers (id, tenant_id, details, version) VALUES ($1, $2, $3, $4)", *seller)
        buyer = (tenant_id, uuid7(), party)
        await owner.execute("INSERT INTO account_parties (tenant_id, account_id, party_id) VALUES ($1, $2, $3)", *buyer)
        await owner.execute("INSERT INTO parties (id, tenant_id, version) VALUES ($1, $2, 1)", party, tenant_id)
        orders = [(uuid7(), tenant_id, party, json.dumps(LINES)) for _ in range(count)]
        await owner.executemany(
            "INSERT INTO orders (id, tenant_id, party_id, origin, state, currency, lines, version)"
            " VALUES ($1, $2, $3, 'purchase', 'due', 'EUR', $4, 1)",
            orders,
        )
    finally:
        await owner.close()
    return [row[0] for row in orders]


class RawBilling:
    """As many connections as clients; the last document's hash is chained here, too."""

    def __init__(self, pool: asyncpg.Pool, tenant_id: UUID) -> None:
        self._pool = pool
        self._tenant_id = tenant_id

    @classmethod
    async def open(cls, app_url: str, tenant_id: UUID, *, clients: int) -> "RawBilling":
        address = app_url.replace(SQLALCHEMY_SCHEME, "postgresql://")
        settings = {"jit": "off"}
        pool = await asyncpg.create_pool(address, min_size=clients, max_size=clients, server_settings=settings)
        return cls(pool, tenant_id)

    async def close(self) -> None:
        await self._pool.close()

    async def invoice(self, order_id: UUID) -> None:
        """Finalize an order as `issue_invoice` does: the same rows, in three round trips behind the counter."""
        today, tenant, document = date.today(), self._tenant_id, uuid7()
        salt, buyer = secrets.token_bytes(32), json.dumps({"name": "Ada Lovelace"})
        digest = sha256(salt + buyer.encode()).digest()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(ENTER, str(tenant))
            order = await connection.fetchrow(LOCK_ORDER, order_id)
            account = await connection.fetchrow(BUYER, order["party_id"])
            taken = await connection.fetchrow(TAKE, tenant, today)
            covered = json.dumps([taken["last_number"], str(order["party_id"]), order["lines"], VAT, SELLER])
            hash_ = sha256((taken["last_hash"] or b"") + covered.encode() + digest).digest()
            event = {
                "tenant_id": str(tenant), "invoice_id": str(document), "order_id": str(order_id), "total_minor": 2400,
                "account_id": str(account["account_id"]), "currency": "EUR",
                "due_on": (today + timedelta(30)).isoformat(),
            }  # fmt: skip
            await connection.execute(
                WRITE, document, tenant, taken["last_number"], order["party_id"], order_id, today, order["lines"],
                json.dumps(VAT), account["details"], buyer, salt, hash_, digest, taken["last_hash"], uuid7(),
                json.dumps(event), [account["account_id"]],
            )  # fmt: skip


BUYER = """
SELECT ap.account_id, s.details FROM sellers s LEFT JOIN account_parties ap ON ap.party_id = $1
"""
