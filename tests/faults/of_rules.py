"""Each invariant is shown to be able to fail: one rule is broken, and the run has to see it."""

import asyncio
from dataclasses import dataclass

from tests.faults.meddling import Meddler
from tests.faults.scenarios import OUTBOX_SECONDS, SCENARIOS, Fault, Run, Scenario

WRITERS = tuple((service, "api") for service in ("feed", "helpdesk", "booking"))
RELAYS = tuple((service, "worker") for service in ("feed", "helpdesk"))
NOTIFY = (("notify", "worker"),)


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """`rule` is broken in these processes; then `fault` must make `seen` in the printed line say so."""

    invariant: str
    rule: str
    processes: tuple[tuple[str, str], ...]
    fault: Fault
    seen: str


async def load_alone(run: Run) -> None:
    await asyncio.sleep(8)


async def every_message_again(run: Run) -> None:
    async with Meddler(run.ground.node.url(), run.suite.namespace) as meddler:
        await meddler.repeat_everything(times=2)
        await asyncio.sleep(8)


async def broker_gone(run: Run) -> None:
    await asyncio.to_thread(run.ground.node.kill)
    await asyncio.sleep(3)
    await asyncio.to_thread(run.ground.node.start)
    await asyncio.sleep(3)


BROKEN = (
    BrokenRule("I1", "confirms_what_it_has_not_sent", RELAYS, load_alone, "lost"),
    BrokenRule("I2", "publishes_beside_the_transaction", WRITERS, load_alone, "ghosts"),
    BrokenRule("I3", "forgets_what_it_has_seen", NOTIFY, every_message_again, "applied_twice"),
    BrokenRule("I4", "lets_events_overtake", NOTIFY, load_alone, "out_of_order"),
    BrokenRule("I5", "gives_up_relaying", RELAYS, broker_gone, "the outboxes were not empty"),
    BrokenRule("I6", "keeps_messages", NOTIFY, load_alone, "queues or parked events were left"),
    BrokenRule("I7", "asks_the_broker_first", WRITERS, broker_gone, "http_5xx"),
    BrokenRule("I8", "ends_with_its_broker", NOTIFY, broker_gone, "processes ended that nobody had killed"),
)


def _broken(rule: BrokenRule) -> Fault:
    async def fault(run: Run) -> None:
        for service, role in rule.processes:
            run.suite.modules[service, role] = "tests.faults.misbehaving"
            await run.suite.kill_service(service, role=role)
            await run.suite.start_service(service, role=role, COWORK_MISBEHAVE=rule.rule)
        await rule.fault(run)

    return fault


for _rule in BROKEN:
    _name = f"broken-{_rule.invariant.lower()}"
    SCENARIOS[_name] = Scenario(_name, _broken(_rule), expects=_rule.seen, drain_seconds=OUTBOX_SECONDS + 5)
