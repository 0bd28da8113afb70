"""Who relays, and how a relay in another process is woken."""

import asyncio
from typing import Any

from sqlalchemy import func, select, update

from shared.bus import publish
from shared.bus.leases import Lease
from shared.bus.local import LocalTransport
from shared.bus.relay import Relay
from shared.bus.tables import leases, outbox
from shared.bus.wake import RELAY, Notifier, listen
from shared.db import Database, uuid7
from shared.events.feed import PostPublished
from tests.support.testing import wait_for

TENANT = uuid7()


async def waiting(database: Database) -> int:
    async with database.transaction() as session:
        return int(await session.scalar(select(func.count()).select_from(outbox)) or 0)


async def post(database: Database) -> None:
    async with database.transaction(TENANT) as session:
        event = PostPublished(tenant_id=TENANT, post_id=uuid7(), author_id=uuid7(), is_announcement=False)
        await publish(session, event)


async def test_a_relay_strikes_out_only_while_it_holds_the_lease(make_database: Any) -> None:
    database = await make_database()
    relay, rival = Relay("feed", database, LocalTransport({"feed": database}, {})), Lease(database, "relay")
    assert await relay.lease.hold()
    assert not await rival.hold()
    async with database.transaction() as session:
        await session.execute(update(leases).values(holder=rival.holder))
    await post(database)
    await relay.relay_waiting()
    assert await waiting(database) == 1
    assert not await relay.lease.hold(), "it asks again and is told"
    async with database.transaction() as session:
        await session.execute(update(leases).values(expires_at=func.now()))
    assert await relay.lease.hold()
    assert await relay.relay_waiting() == 1
    assert await waiting(database) == 0


async def test_a_lease_is_renewed_before_it_ends_and_not_at_every_turn(make_database: Any) -> None:
    database = await make_database()
    lease = Lease(database, "relay", seconds=0.6)

    async def ends_at() -> Any:
        async with database.transaction() as session:
            return await session.scalar(select(leases.c.expires_at))

    assert await lease.hold()
    first = await ends_at()
    assert await lease.hold()
    assert await ends_at() == first
    await asyncio.sleep(0.25)
    assert await lease.hold()
    assert await ends_at() > first


async def test_a_relay_that_is_stopped_before_it_rests_does_not_rest(make_database: Any) -> None:
    database = await make_database()
    relay = Relay("feed", database, LocalTransport({"feed": database}, {}))
    await post(database)
    await relay.stop()
    async with asyncio.timeout(0.9):
        await relay.run()
    assert await waiting(database) == 0


async def test_many_commits_at_once_wake_the_relay_at_once_and_seldom(make_database: Any) -> None:
    database = await make_database()
    woken: list[float] = []
    loop = asyncio.get_running_loop()

    def wake(_: str) -> None:
        woken.append(loop.time())

    database.wakers[RELAY] = wake
    listening = asyncio.create_task(listen(database))
    notifier = Notifier(database)
    await asyncio.sleep(0.3)
    notifier.wake(RELAY)
    await wait_for(lambda: woken)
    await asyncio.sleep(0.1)
    woken.clear()
    for _ in range(200):
        notifier.wake(RELAY)
    await asyncio.sleep(0.3)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert 1 <= len(woken) <= 2
