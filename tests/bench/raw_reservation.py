"""The raw limit of a reservation: one transaction of asyncpg with the same lock and the same four rows."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg
import orjson

from shared.db import utc_now, uuid7
from tests.bench.rooms import Rooms

LOCK = "SELECT hourly_price_minor, vat_rate_bp FROM resources WHERE id = $1 FOR UPDATE"
# The rows know each other's ids, so that one statement writes all four.
WRITE = (
    "WITH reservation AS (INSERT INTO reservations (id, tenant_id, resource_id, unit_no, account_id, starts_at,"
    " ends_at, blocked, state, note, price_minor, currency, vat_rate_bp, order_id, free_until, refund_minor, version)"
    " VALUES ($1, $2, $3, 1, $4, $5, $6, tstzrange($5, $6), 'confirmed', 'needs a projector', $7, 'EUR', $8, $9,"
    " $5 - interval '24 hours', 0, 1)),"
    " log AS (INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, subject_ids)"
    " VALUES ($10, $2, 'booking.reservation.confirmed.v1', $11, 1, $12, $13::jsonb, ARRAY[$4::uuid])"
    " RETURNING position, key), pointer AS (INSERT INTO outbox (position, key) SELECT position, key FROM log)"
    " INSERT INTO idempotency_keys (digest, tenant_id, account_id, body_digest, made_id)"
    " VALUES ($14, $2, $4, $14, $11)"
)


class RawReservations:
    """Writes reservations over as many connections as there are writers."""

    def __init__(self, rooms: Rooms, idle: list[asyncpg.Connection]) -> None:
        self._rooms = rooms
        self._idle = idle

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, rooms: Rooms, *, connections: int) -> AsyncIterator["RawReservations"]:
        settings = {"cowork.tenant": str(rooms.tenant_id), "jit": "off"}
        idle = [await asyncpg.connect(url, server_settings=settings) for _ in range(connections)]
        try:
            yield cls(rooms, idle)
        finally:
            for connection in idle:
                await connection.close()

    async def reserve(self, resource_id: UUID, starts_at: datetime, ends_at: datetime) -> None:
        connection = self._idle.pop()
        async with connection.transaction():
            price_minor, vat_rate_bp = await connection.fetchrow(LOCK, resource_id)
            reservation_id, order_id, member_id = uuid7(), uuid7(), self._rooms.member_id
            data = {
                "tenant_id": self._rooms.tenant_id,
                "reservation_id": reservation_id,
                "resource_id": resource_id,
                "account_id": member_id,
                "starts_at": starts_at,
                "ends_at": ends_at,
                "order_id": order_id,
                "price_minor": price_minor,
                "currency": "EUR",
                "vat_rate_bp": vat_rate_bp,
            }
            await connection.execute(
                WRITE,
                reservation_id,
                self._rooms.tenant_id,
                resource_id,
                member_id,
                starts_at,
                ends_at,
                price_minor,
                vat_rate_bp,
                order_id,
                uuid7(),
                str(reservation_id),
                utc_now(),
                orjson.dumps(data).decode(),
                hashlib.sha256(reservation_id.bytes).digest(),
            )
        self._idle.append(connection)
