"""Two relays of one service, one of which has lost its lease without knowing."""

import asyncio
import signal

from shared.bus.leases import LEASE_SECONDS
from tests.faults.scenarios import Run, scenario

SECOND = "worker-2"


@scenario("relays-two")
async def two_relays(run: Run) -> None:
    """The holder stands still until its lease has run out, wakes up behind the other, and so in turn."""
    await run.suite.start_service("helpdesk", role=SECOND)
    for turn in range(run.times(2, short=1)):
        process = run.suite.process("helpdesk", role=("worker", SECOND)[turn % 2])
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_SECONDS + 2)
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(2)
    await run.suite.kill_service("helpdesk", role=SECOND)
    run.kills += 1


@scenario("lease-stolen")
async def lease_stolen(run: Run) -> None:
    """Every second the lease is taken from whoever holds it: both relays send, the inboxes see each event once."""
    await run.suite.start_service("helpdesk", role=SECOND)
    for _ in range(run.times(20, short=4)):
        await run.suite.query("helpdesk", "UPDATE leases SET expires_at = now() - interval '1 second'")
        await asyncio.sleep(1)
    await run.suite.kill_service("helpdesk", role=SECOND)
    run.kills += 1
