"""`python -m tests.faults.misbehaving serve …`: the command, with one thing done wrong on purpose (COWORK_MISBEHAVE).

Handlers that raise, hang or end the process for one ticket (`raises`, `hangs`, `exits`; COWORK_MISBEHAVE_ON names it), and
broken rules, one per invariant, that show that the fault runs would see it.
"""

import asyncio
import os
import random
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from deploy.cli.app import main
from services.notify import consumers as notify
from shared import db
from shared.bus import amqp, inbox, lanes, outbox, relay, wake, worker
from shared.bus.consumers import Consumers
from shared.events.helpdesk import TicketReplied

ON = os.environ.get("COWORK_MISBEHAVE_ON", "")


def raises(_: Any) -> None:
    raise ValueError("refused on purpose")


def exits(_: Any) -> None:
    os._exit(71)


def on_ticket(misbehave: Callable[[Any], Any]) -> Callable[[], None]:
    """Let notify's reaction to replies on one ticket misbehave before it does its work."""

    async def react(session: Any, event: TicketReplied) -> None:
        if str(event.ticket_id) == ON:
            waiting = misbehave(event)
            if waiting is not None:
                await waiting

    def install() -> None:
        first = Consumers("notify")
        first.on(TicketReplied)(react)
        first.include(notify.consumers)
        notify.consumers._registered = first._registered

    return install


def confirms_what_it_has_not_sent() -> None:
    """I1: the relay takes one event in fifty for confirmed that no broker has seen."""
    send = amqp.AmqpTransport._publish_one

    async def forgetful(self: Any, *arguments: Any) -> bool:
        return True if random.random() < 0.02 else await send(self, *arguments)

    amqp.AmqpTransport._publish_one = forgetful


def publishes_beside_the_transaction() -> None:
    """I2: events are written in a transaction of their own, before the write that causes them."""
    write, made, make = outbox.publish_all, [], db.Database.__init__

    def note(self: Any, *arguments: Any, **more: Any) -> None:
        make(self, *arguments, **more)
        made.append(self)

    async def early(session: Any, events: Any, **more: Any) -> Any:
        (database,) = made
        crash, outbox.crash = outbox.crash, lambda _: None
        try:
            async with database.transaction() as own:
                ids = await write(own, events, **more)
        finally:
            outbox.crash = crash
        crash("publish.before_commit")
        return ids

    outbox.publish_all = early
    db.Database.__init__ = note


def forgets_what_it_has_seen() -> None:
    """I3: the inbox takes every delivery for a fresh one."""
    inbox._OPEN = inbox._OPEN.replace("EXISTS (SELECT FROM fresh)", "true")


def lets_events_overtake() -> None:
    """I4: every delivery has a lane of its own."""
    deliver = lanes.Lanes.deliver

    def scatter(self: Any, delivery: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(random.random() * 2)
            deliver(self, delivery)

        self._start(later())

    lanes.Lanes.deliver = scatter


def gives_up_relaying() -> None:
    """I5 and I6: a relay that has met one error rests for good."""
    waiting = relay.Relay.relay_waiting

    async def once(self: Any) -> int:
        try:
            return await waiting(self)
        except Exception:
            await asyncio.sleep(3600)
            raise

    relay.Relay.relay_waiting = once


def keeps_messages() -> None:
    """I6: the consumer handles one event in ten without ever telling the broker."""
    deliver = lanes.Lanes.deliver

    async def silence() -> None:
        return None

    def forget(self: Any, delivery: Any) -> None:
        deliver(self, replace(delivery, acknowledge=silence) if random.random() < 0.1 else delivery)

    lanes.Lanes.deliver = forget


def asks_the_broker_first() -> None:
    """I7: a write needs the broker to answer before it is accepted."""
    address = os.environ["COWORK_AMQP_URL"].rsplit("@", 1)[1].split("/")[0].split(":")

    def reach(self: Any, _: str) -> None:
        socket.create_connection((address[0], int(address[1])), 1)

    wake.Notifier.wake = reach


def ends_with_its_broker() -> None:
    """I8: a worker that loses its broker ends and waits for somebody to start it."""

    async def supervise(self: Any, work: Any) -> None:
        try:
            await work()
        finally:
            os._exit(1)

    worker.BusWorker._supervise = supervise


RULES = {
    "raises": on_ticket(raises),
    "hangs": on_ticket(lambda _: asyncio.sleep(3600)),
    "exits": on_ticket(exits),
    **{
        rule.__name__: rule
        for rule in (
            confirms_what_it_has_not_sent,
            publishes_beside_the_transaction,
            forgets_what_it_has_seen,
            lets_events_overtake,
            gives_up_relaying,
            keeps_messages,
            asks_the_broker_first,
            ends_with_its_broker,
        )
    },
}

if __name__ == "__main__":
    RULES[os.environ["COWORK_MISBEHAVE"]]()
    main()
