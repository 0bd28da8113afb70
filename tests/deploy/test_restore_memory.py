"""A restore of a busy suite reads in batches, and everybody once: its memory does not grow with the rows."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from deploy.backup.kept import kept_services
from deploy.backup.places import LEDGER, Place, connected
from deploy.backup.replay import leftovers
from deploy.backup.unheard import send_unheard_again
from services.privacy.ledger import Entry, open_ledger
from shared.db import utc_now, uuid7
from shared.events.feed import PostPublished

ROWS = 40_000
POSTS = (
    "INSERT INTO posts (id, tenant_id, thread_id, author_id, body, is_announcement, version)"
    " SELECT id, $1, id, $1, 'words', false, 1"
    " FROM (SELECT gen_random_uuid() FROM generate_series(1, $2::int)) AS made (id)"
)
TENANT = (
    "INSERT INTO tenants (tenant_id, slug, languages, default_language, time_zone)"
    " VALUES ($1, 'canal', 'fr', 'fr', 'Europe/Paris')"
)
EVENTS = (
    "INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, relayed_at)"
    " SELECT id, id, $1, id::text, 1, now(), '{}', now()"
    " FROM (SELECT gen_random_uuid() FROM generate_series(1, $2::int)) AS made (id)"
)


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1_000_000
    finally:
        tracemalloc.stop()


async def test_a_busy_publishers_events_are_sent_again_batch_by_batch(place: Place) -> None:
    async with connected(place.owners["feed"]) as feed, connected(place.owners["notify"]) as notify:
        await feed.execute(EVENTS, PostPublished.type, ROWS)
        heard = await feed.fetch("SELECT event_id FROM event_log WHERE position % 400 = 0")
        known = [row["event_id"] for row in heard]
        await notify.execute("INSERT INTO inbox (event_id, type) SELECT unnest($1::uuid[]), 'x'", known)
        with at_most(8):
            assert await send_unheard_again(place, since=utc_now() - timedelta(days=1)) == ROWS - len(known)
        assert await feed.fetchval("SELECT count(*) FROM outbox") == ROWS - len(known)


async def test_whoever_wrote_much_is_looked_for_once(place: Place) -> None:
    alma = uuid7()
    async with connected(place.owners["feed"]) as feed:
        await feed.execute(TENANT, alma)
        await feed.execute(POSTS, alma, ROWS)
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger, kept_services(place) as services:
        await ledger.append(Entry(ledger.digest(uuid7(), uuid7()), "completed", "remove", utc_now()))
        with at_most(3):
            assert await leftovers(services, ledger, []) == []
        await ledger.append(Entry(ledger.digest(alma, alma), "completed", "remove", utc_now()))
        assert "feed: posts" in await leftovers(services, ledger, [])
