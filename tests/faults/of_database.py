"""PostgreSQL restarts at once, is away, has no connection left, or holds a lock: requests may fail, no event may."""

import asyncio
import os
import signal
from uuid import UUID

import asyncpg

from shared.tasks import cancel_all
from tests.faults.scenarios import Run, scenario

STEADY = 0.9
EASE = 0.75
KNOCKS_PER_SECOND = 3


@scenario("database-restarted", allows_5xx=True, in_short=True)
async def database_restarted(run: Run) -> None:
    """An immediate shutdown is a crash: every connection breaks and recovery replays the log."""
    for _ in range(run.times(3, short=1)):
        postgres = run.suite.postgres
        os.kill(postgres.memory_pids()[0], signal.SIGQUIT)
        await asyncio.sleep(0.5)
        await postgres.start()
        run.kills += 1
        await asyncio.sleep(4)


@scenario("database-away", allows_5xx=True)
async def database_away(run: Run) -> None:
    await run.suite.postgres.stop()
    await asyncio.sleep(run.times(30, short=5))
    await run.suite.postgres.start()


@scenario("database-connections-exhausted", allows_5xx=True)
async def connections_exhausted(run: Run) -> None:
    """Every connection of the services is cut, and a stranger takes all that the server has."""
    admin = await asyncpg.connect(run.suite.postgres.admin_url)
    taken: list[asyncpg.Connection] = []
    try:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE '%\\_app' AND pid <> pg_backend_pid()"
        )
        until = asyncio.get_running_loop().time() + run.times(20, short=5)
        while asyncio.get_running_loop().time() < until:
            try:
                taken.append(await asyncpg.connect(_stranger(run)))
            except asyncpg.TooManyConnectionsError:
                await asyncio.sleep(0.2)
        if len(taken) < 20:
            raise RuntimeError(f"only {len(taken)} connections could be taken: nothing was exhausted")
    finally:
        await asyncio.gather(*(one.close() for one in taken))
        await admin.close()


def _stranger(run: Run) -> str:
    return str(run.suite.app_url("privacy").replace("+asyncpg", ""))


@scenario("database-locked", allows_5xx=True)
async def database_locked(run: Run) -> None:
    """One ticket is locked for half a minute while many want it; the others keep nine tenths of their rate."""
    ticket, seconds = run.ground.tickets[0], run.times(30, short=5)
    # A machine at its limit is now slower, now quicker, without any lock: what is offered is what it carries with ease.
    run.load.per_second = EASE * await run.load.carried(seconds / 3)
    knocking = asyncio.create_task(_knock(run, ticket))
    before = await run.load.reply_rate(seconds / 2, leaving_out=ticket)
    connection = await run.suite.superuser("helpdesk")
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM tickets WHERE id = $1 FOR UPDATE", UUID(ticket))
            during = await run.load.reply_rate(seconds, leaving_out=ticket)
    finally:
        await connection.close()
    # On both sides: a machine that becomes slower or quicker meanwhile is not taken for the lock.
    after = await run.load.reply_rate(seconds / 2, leaving_out=ticket)
    await cancel_all([knocking])
    run.measured.append(
        f"replies on other tickets: {before:.1f}/s before, {during:.1f}/s meanwhile, {after:.1f}/s after"
    )
    if during < STEADY * (before + after) / 2:
        run.complaints.append(f"replies on other tickets fell below {STEADY:.0%} of their rate")


async def _knock(run: Run, ticket: str) -> None:
    """Reply on one ticket besides what the load does; whoever waits for its row keeps nobody else waiting."""
    async with asyncio.TaskGroup() as knocks:
        while True:
            knocks.create_task(run.load.reply_on(ticket))
            await asyncio.sleep(1 / KNOCKS_PER_SECOND)
