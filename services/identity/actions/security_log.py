"""The security log of an account: written with every act, read by the person alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.models import Happening, SecurityEntry
from services.identity.origin import Origin
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.identity import SecurityAlerted, SecurityKind

_INSERT = insert(SecurityEntry)


async def record(
    session: AsyncSession, account_id: UUID, happening: Happening, *, origin: Origin, now: datetime
) -> None:
    row = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "account_id": account_id,
        "happening": happening,
        "happened_at": now,
        "device": origin.device,
        "address": origin.address,
    }
    await session.execute(_INSERT, row)


async def alert(session: AsyncSession, account_id: UUID, kind: SecurityKind) -> None:
    """Have the person told by mail, whatever their preferences."""
    await publish(session, SecurityAlerted(tenant_id=tenant_of(session), account_id=account_id, kind=kind))


async def list_entries(
    session: AsyncSession, account_id: UUID, *, limit: int, after: tuple[Any, ...] | None
) -> Sequence[SecurityEntry]:
    """Return the account's entries, newest first."""
    wanted = select(SecurityEntry).where(SecurityEntry.account_id == account_id)
    if after is not None:
        wanted = wanted.where(tuple_(SecurityEntry.happened_at, SecurityEntry.id) < after)
    ordered = wanted.order_by(SecurityEntry.happened_at.desc(), SecurityEntry.id.desc()).limit(limit)
    return (await session.scalars(ordered)).all()
