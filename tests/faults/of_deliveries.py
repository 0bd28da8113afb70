"""Deliveries come three times, shuffled, or cannot be handled: refused, hanging, fatal, or no event at all."""

import asyncio
from uuid import uuid4

import orjson

from shared.bus.contracts import Envelope
from shared.db import utc_now, uuid7
from shared.events.helpdesk import TicketOpened
from tests.faults.meddling import Meddler
from tests.faults.scenarios import Run, scenario


@scenario("deliveries-repeated", in_short=True)
async def deliveries_repeated(run: Run) -> None:
    """Every message reaches every subscriber three times."""
    async with Meddler(run.ground.node.url(), run.suite.namespace) as meddler:
        await meddler.repeat_everything(times=2)
        await asyncio.sleep(run.times(20, short=5))


@scenario("deliveries-shuffled")
async def deliveries_shuffled(run: Run) -> None:
    """Keys are mixed at random in windows of 50 (one key's events stay in order, as in a broker), and all come again."""
    async with Meddler(run.ground.node.url(), run.suite.namespace) as meddler:
        await meddler.shuffle_everything(window=50)
        await asyncio.sleep(run.times(20, short=5))
        # While the bindings are put back, what is held and what comes directly could overtake each other.
        await run.load.pause()
        while not await run.ground.outboxes_are_empty():
            await asyncio.sleep(0.1)
    run.load.resume()


@scenario("delivery-refused")
async def delivery_refused(run: Run) -> None:
    """One ticket's replies are refused for longer than their lane is held: parked, blocked behind, then handled."""
    await _misbehave(run, "raises", seconds=run.times(45, short=33))


@scenario("delivery-hangs")
async def delivery_hangs(run: Run) -> None:
    """One ticket's replies never return: each attempt is given up after its time, and the lane is parked."""
    await _misbehave(run, "hangs", seconds=run.times(75, short=66))


@scenario("delivery-fatal")
async def delivery_fatal(run: Run) -> None:
    """One ticket's replies end the process, as often as the supervisor starts it."""
    await _start(run, "exits")
    for _ in range(run.times(12, short=3)):
        await asyncio.to_thread(run.suite.process("notify", role="worker").wait, 60)
        run.kills += 1
        await run.suite.start_service("notify", role="worker", wait=False, **_one_ticket(run, "exits"))
    await _heal(run)


@scenario("delivery-undecodable")
async def delivery_undecodable(run: Run) -> None:
    """Bytes that are no event, and events of a version that nobody knows, end dead with a reason; an operator discards them."""
    hostile = [b"\xff\xfe no json", b"[]", b"{}", b" " * (256 * 1024 + 1), *(_of_the_future() for _ in range(20))]
    async with Meddler(run.ground.node.url(), run.suite.namespace) as meddler:
        for body in hostile:
            await meddler.hand_to("notify", body)
        await asyncio.sleep(run.times(10, short=3))
    dead = await run.suite.query("notify", "SELECT event_id, reason FROM inbox_parked WHERE state = 'dead'")
    if len(dead) != len(hostile) or not all(row["reason"] for row in dead):
        run.complaints.append(f"{len(hostile)} hostile messages, {len(dead)} dead with a reason")
    await run.suite.query("notify", "DELETE FROM inbox_parked WHERE state = 'dead'")


def _of_the_future() -> bytes:
    event = TicketOpened(tenant_id=uuid7(), ticket_id=uuid7(), requester_id=uuid7())
    envelope = Envelope(uuid7(), event.type, event.tenant_id, event.key, 1, 0, utc_now(), event.model_dump(mode="json"))
    changed = {"type": "helpdesk.ticket.opened.v9", "subject": str(uuid4())}
    return orjson.dumps({**orjson.loads(envelope.encode()), **changed})


async def _misbehave(run: Run, rule: str, *, seconds: float) -> None:
    await _start(run, rule)
    await asyncio.sleep(seconds)
    parked = await run.suite.query("notify", "SELECT DISTINCT key FROM inbox_parked")
    if [row["key"] for row in parked] != [run.ground.tickets[0]]:
        run.complaints.append(f"parked: {len(parked)} keys; one ticket alone was to be")
    await _heal(run)


async def _start(run: Run, rule: str) -> None:
    run.suite.modules["notify", "worker"] = "tests.faults.misbehaving"
    await run.suite.kill_service("notify", role="worker")
    run.kills += 1
    await run.suite.start_service("notify", role="worker", **_one_ticket(run, rule))


async def _heal(run: Run) -> None:
    """The mended version is rolled out, and an operator has what is parked tried at once."""
    del run.suite.modules["notify", "worker"]
    await run.suite.kill_service("notify", role="worker")
    await run.suite.start_service("notify", role="worker")
    await run.suite.query("notify", "UPDATE inbox_parked SET retry_at = now(), attempts = 0 WHERE state = 'retry'")


def _one_ticket(run: Run, rule: str) -> dict[str, str]:
    return {"COWORK_MISBEHAVE": rule, "COWORK_MISBEHAVE_ON": run.ground.tickets[0]}
