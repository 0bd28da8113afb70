"""Backlogs: what waits for the broker, what waits for a worker, and what could not be handled."""

from sqlalchemy import text

from deploy.doctor.checks import of_service
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import Site
from shared.bus.parking import count_parked
from shared.bus.relay import outbox_status

# Seconds. I5: an outbox is empty within 30 s of a fault's end.
LATE, STUCK = 30, 300
# Parked events that still have attempts; a service that is away for minutes makes some.
MANY_PARKED = 50

_OLDEST_WAITING = text(
    "SELECT count(*), coalesce(extract(epoch FROM now() - min(received_at)), 0)::float FROM inbox_waiting"
)


@of_service("outbox")
async def check_outbox(site: Site, service: str) -> list[Finding]:
    """Every event is confirmed by the broker within half a minute."""
    async with site.session(service) as session:
        waiting, oldest = await outbox_status(session)
    return _judged(waiting, oldest)


@of_service("inbox")
async def check_inbox(site: Site, service: str) -> list[Finding]:
    """What the local transport has delivered is handled within half a minute."""
    async with site.session(service) as session:
        waiting, oldest = (await session.execute(_OLDEST_WAITING)).one()
    return _judged(waiting, oldest)


def _judged(waiting: int, oldest: float) -> list[Finding]:
    if oldest <= LATE:
        return [ok()]
    judge = failed if oldest > STUCK else warning
    return [judge("old", count=waiting, seconds=round(oldest))]


@of_service("parked")
async def check_parked(site: Site, service: str) -> list[Finding]:
    """No event was given up, and few wait for another try."""
    async with site.session(service) as session:
        parked = await count_parked(session)
    found: list[Finding] = []
    if dead := parked.pop("dead", 0):
        found.append(warning("dead", count=dead))
    if sum(parked.values()) > MANY_PARKED:
        found.append(warning("many", count=sum(parked.values())))
    return found or [ok()]
