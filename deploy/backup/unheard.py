"""Events that had left their publisher when the backup was made and had not arrived: the broker's queues are in no backup."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from deploy.backup.places import Place, connected
from shared.events import SERVICES
from shared.events.subscribers import SUBSCRIBERS

_RELAYED = (
    "SELECT position, event_id, type, key FROM event_log WHERE relayed_at >= $1 AND redacted_at IS NULL"
    " AND data IS NOT NULL"
)
_UNKNOWN = (
    "SELECT id FROM unnest($1::uuid[]) AS sent (id) WHERE NOT EXISTS (SELECT FROM inbox WHERE event_id = id)"
    " AND NOT EXISTS (SELECT FROM inbox_parked WHERE event_id = id)"
    " AND NOT EXISTS (SELECT FROM inbox_waiting WHERE event_id = id)"
)
_SEND = "INSERT INTO outbox (position, key) SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING"


async def send_unheard_again(place: Place, *, since: datetime) -> int:
    """Have every event sent again that was relayed since an instant and that a subscriber does not know; return how many."""
    sent = 0
    for name in SERVICES:
        async with connected(place.owners[name]) as owner:
            relayed = await owner.fetch(_RELAYED, since)
            missed: set[UUID] = set()
            for subscriber in SERVICES:
                ids = [row["event_id"] for row in relayed if subscriber in SUBSCRIBERS.get(row["type"], ())]
                missed |= await _unknown_to(place.owners[subscriber], ids)
            again = [row for row in relayed if row["event_id"] in missed]
            await owner.execute(_SEND, [row["position"] for row in again], [row["key"] for row in again])
            sent += len(again)
    return sent


async def _unknown_to(address: str, ids: Sequence[UUID]) -> set[UUID]:
    if not ids:
        return set()
    async with connected(address) as owner:
        return {row["id"] for row in await owner.fetch(_UNKNOWN, ids)}
