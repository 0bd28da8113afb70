"""The space's own clock: mails name days and times as its people read them, in their language."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import tenant_of
from shared.privacy.tables import tenants


async def zone_of(session: AsyncSession) -> ZoneInfo:
    """Return the time zone of the transaction's tenant."""
    known = select(tenants.c.time_zone).where(tenants.c.tenant_id == tenant_of(session))
    return ZoneInfo((await session.execute(known)).scalar_one())


@dataclass(frozen=True, slots=True)
class Calendar:
    """Says the dates and instants of events (ISO 8601) with the `months` and the `instant` of a language's words."""

    words: Mapping[str, Any]
    zone: ZoneInfo

    def day(self, on: str) -> str:
        return self._say(date.fromisoformat(on))

    def instant(self, at: str) -> str:
        local = datetime.fromisoformat(at).astimezone(self.zone)
        return str(self.words["instant"].format(day=self._say(local), time=f"{local:%H:%M}"))

    def _say(self, one: date) -> str:
        return f"{one.day} {self.words['months'][one.month - 1]} {one.year}"
