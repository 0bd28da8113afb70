"""Rooms to reserve: one tenant, resources, a member with reservations, and slots that nobody has taken yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from shared.db import utc_now, uuid7

RESOURCES = 64
OTHERS = 5_000
HOURS_PER_DAY = 20
# Slots of the figures begin after those of the rows that are there from the beginning.
FIRST_DAY = 60
LAST_DAY = 360


@dataclass(frozen=True, slots=True)
class Rooms:
    tenant_id: UUID
    resources: list[UUID]
    member_id: UUID

    def slots(self) -> Iterator[tuple[UUID, datetime, datetime]]:
        """Yield each free slot once, resource by resource, so that neighbours in time share no lock."""
        midnight = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(FIRST_DAY, LAST_DAY):
            for hour in range(HOURS_PER_DAY):
                starts_at = midnight + timedelta(days=day, hours=hour)
                for resource in self.resources:
                    yield resource, starts_at, starts_at + timedelta(hours=1)


async def furnish(connection: asyncpg.Connection, *, reservations: int, others: int) -> Rooms:
    """Write a space as its owner role would: a member with `reservations`, other people with `others`."""
    tenant, location, member = uuid7(), uuid7(), uuid7()
    resources = [uuid7() for _ in range(RESOURCES)]
    await connection.execute(
        "INSERT INTO tenants (tenant_id, slug, languages, default_language, time_zone) VALUES ($1, $2, 'en', 'en', 'UTC')",
        tenant,
        f"space-{tenant.hex[-8:]}",
    )
    await connection.execute(
        "INSERT INTO locations (id, tenant_id, name, address, time_zone, version) VALUES ($1, $2, 'Canal', '', 'UTC', 1)",
        location,
        tenant,
    )
    await connection.execute(
        "INSERT INTO resources (id, tenant_id, location_id, name, kind, capacity, units, hourly_price_minor, currency,"
        " vat_rate_bp, buffer_minutes, min_minutes, max_minutes, step_minutes, ahead_days, free_cancellation_hours,"
        " needs_approval, version) SELECT id, $2, $3, 'Room', 'room', 4, 1, 1500, 'EUR', 2000, 0, 30, 480, 30, 365, 24,"
        " false, 1 FROM unnest($1::uuid[]) id",
        resources,
        tenant,
        location,
    )
    await _reserve(connection, tenant, resources, [member] * reservations)
    await _reserve(connection, tenant, resources, [uuid7() for _ in range(others)], first_day=20)
    return Rooms(tenant, resources, member)


async def _reserve(
    connection: asyncpg.Connection, tenant: UUID, resources: list[UUID], people: list[UUID], *, first_day: int = 1
) -> None:
    await connection.execute(
        "INSERT INTO reservations (id, tenant_id, resource_id, unit_no, account_id, starts_at, ends_at, blocked, state,"
        " note, price_minor, currency, vat_rate_bp, order_id, free_until, refund_minor, version)"
        " SELECT gen_random_uuid(), $1, resource, 1, account, at, at + '1 hour', tstzrange(at, at + '1 hour'),"
        " 'confirmed', 'needs a projector', 1500, 'EUR', 2000, gen_random_uuid(), at - '1 day'::interval, 0, 1"
        " FROM (SELECT account,"
        " ($2::uuid[])[1 + n % cardinality($2::uuid[])] AS resource, date_trunc('day', now())"
        " + make_interval(days => $4, hours => (n / cardinality($2::uuid[]))::int) AS at"
        " FROM unnest($3::uuid[]) WITH ORDINALITY AS one(account, n)) slot",
        tenant,
        resources,
        people,
        first_day,
    )
