"""Events that had left their publisher when the backup was made and had not arrived: the broker's queues are in no backup."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from uuid import UUID

from deploy.backup.places import Place, connected
from shared.events import SERVICES
from shared.events.subscribers import SUBSCRIBERS

# Events looked at together: a busy suite has published millions in a few days.
BATCH = 5000
_RELAYED = (
    "SELECT position, event_id, type, key FROM event_log WHERE relayed_at >= $1 AND redacted_at IS NULL"
    " AND data IS NOT NULL AND position > $2 ORDER BY position LIMIT $3"
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
    async with AsyncExitStack() as stack:
        owners = {name: await stack.enter_async_context(connected(place.owners[name])) for name in SERVICES}
        for publisher in owners.values():
            last = 0
            while relayed := await publisher.fetch(_RELAYED, since, last, BATCH):
                sent += await _send_missed(publisher, relayed, owners)
                last = relayed[-1]["position"]
    return sent


async def _send_missed(publisher: Any, relayed: Sequence[Any], subscribers: Mapping[str, Any]) -> int:
    missed: set[UUID] = set()
    for name, subscriber in subscribers.items():
        ids = [row["event_id"] for row in relayed if name in SUBSCRIBERS.get(row["type"], ())]
        missed |= {row["id"] for row in await subscriber.fetch(_UNKNOWN, ids)} if ids else set()
    again = [row for row in relayed if row["event_id"] in missed]
    await publisher.execute(_SEND, [row["position"] for row in again], [row["key"] for row in again])
    return len(again)
