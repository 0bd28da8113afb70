"""The promises of the bus, asked of the databases and the broker after a fault (architecture: I1 to I4).

Every service's log says what was published; inboxes and parked tables say what arrived, and when. The notices of
ticket replies are the effect that is counted: one for each event that notify has handled.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self
from uuid import UUID

from shared.events import SERVICES
from shared.events.helpdesk import TicketReplied
from shared.events.subscribers import SUBSCRIBERS
from tests.faults.load import Answers
from tests.support.suites import Suite

# Aggregates whose events of every type share one row of versions; of others only events of one type are compared.
ONE_ROW = ("helpdesk.ticket.", "booking.reservation.")
MADE_IN = {"tickets": "helpdesk", "posts": "feed", "reservations": "booking"}
MAKES = {
    "helpdesk.ticket.opened.v1": "tickets",
    "feed.post.published.v1": "posts",
    "booking.reservation.confirmed.v1": "reservations",
}
MARKS = {
    "helpdesk": "SELECT subject AS mark FROM tickets",
    "feed": "SELECT split_part(body, ' ', 1) AS mark FROM posts",
}


@dataclass
class Findings:
    """How often each promise was broken; `examples` say where."""

    events: int = 0
    lost: int = 0
    ghosts: int = 0
    applied_twice: int = 0
    out_of_order: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, promise: str, count: int, example: str) -> None:
        if count:
            setattr(self, promise, getattr(self, promise) + count)
            self.examples.append(f"{promise} {count} × {example}")


class Invariants:
    """Checks whatever is published after `from_now`."""

    def __init__(self, suite: Suite, positions: dict[str, int]) -> None:
        self._suite = suite
        self._positions = positions

    @classmethod
    async def from_now(cls, suite: Suite) -> Self:
        newest = "SELECT coalesce(max(position), 0) AS n FROM event_log"
        return cls(suite, {service: (await suite.query(service, newest))[0]["n"] for service in SERVICES})

    async def check(self, answers: Answers) -> Findings:
        findings = Findings()
        columns = "SELECT event_id, type, key, version FROM event_log WHERE position > $1 ORDER BY position"
        logs = {name: await self._suite.query(name, columns, self._positions[name]) for name in SERVICES}
        findings.events = sum(len(rows) for rows in logs.values())
        for subscriber in SERVICES:
            await self._check_subscriber(findings, subscriber, logs)
        await self._check_answers(findings, answers)
        await self._check_causes(findings, logs)
        await self._check_effects(findings, logs["helpdesk"])
        return findings

    async def _check_subscriber(self, findings: Findings, subscriber: str, logs: dict[str, list[Any]]) -> None:
        received = await self._suite.query(subscriber, "SELECT event_id, type, received_at FROM inbox")
        parked = await self._suite.query(
            subscriber, "SELECT event_id, type FROM inbox_parked WHERE type <> 'undecodable'"
        )
        arrived = {row["event_id"] for row in [*received, *parked]}
        for name, rows in logs.items():
            mine = [row for row in rows if subscriber in SUBSCRIBERS.get(row["type"], ())]
            missing = [row["type"] for row in mine if row["event_id"] not in arrived]
            findings.note("lost", len(missing), f"{name} → {subscriber}: {missing[:3]}")
            self._check_order(findings, subscriber, mine, {row["event_id"]: row["received_at"] for row in received})
        # Asked last: a log only grows, so whatever has arrived before is in it.
        known = set[UUID]().union(*[await self._ids(name, "SELECT event_id FROM event_log") for name in SERVICES])
        unknown = [row for row in [*received, *parked] if row["event_id"] not in known]
        findings.note("ghosts", len(unknown), f"{subscriber} has seen {[row['type'] for row in unknown[:3]]}")

    def _check_order(self, findings: Findings, subscriber: str, rows: list[Any], received: dict[UUID, Any]) -> None:
        """Reactions of a key run one after the other, so the starts of their transactions are in order, too."""
        by_key: dict[tuple[str, ...], list[tuple[Any, int]]] = defaultdict(list)
        for row in rows:
            if row["key"] is not None and row["event_id"] in received:
                group = (row["key"],) if row["type"].startswith(ONE_ROW) else (row["key"], row["type"])
                by_key[group].append((received[row["event_id"]], row["version"]))
        for group, seen in by_key.items():
            versions = [version for _, version in sorted(seen)]
            wrong = sum(later < earlier for earlier, later in pairwise(versions))
            findings.note("out_of_order", wrong, f"{subscriber}: {group} {versions[:8]}")

    async def _check_answers(self, findings: Findings, answers: Answers) -> None:
        """What was answered with 201 is there; what was undone is not."""
        for table, service in MADE_IN.items():
            there = {str(one) for one in await self._ids(service, f"SELECT id AS event_id FROM {table}")}
            gone = answers.made[table] - there
            findings.note("lost", len(gone), f"answered 201, not in {service}.{table}")
        for service, query in MARKS.items():
            marks = {row["mark"] for row in await self._suite.query(service, query)}
            found = answers.undone & marks
            findings.note("ghosts", len(found), f"undone, but in {service}: {sorted(found)[:3]}")

    async def _check_causes(self, findings: Findings, logs: dict[str, list[Any]]) -> None:
        """What an event says was made exists: a write that was undone has published nothing."""
        for event_type, table in MAKES.items():
            service = event_type.split(".")[0]
            made = {row["key"] for row in logs[service] if row["type"] == event_type and row["key"] is not None}
            there = {str(one) for one in await self._ids(service, f"SELECT id AS event_id FROM {table}")}
            findings.note("ghosts", len(made - there), f"{event_type} without a row in {table}")

    async def _check_effects(self, findings: Findings, log: list[Any]) -> None:
        replied = {row["event_id"] for row in log if row["type"] == TicketReplied.type}
        handled = replied & await self._ids("notify", "SELECT event_id FROM inbox WHERE outcome = 'handled'")
        counted = "SELECT event_id, count(*) AS n FROM notices GROUP BY event_id, kind, account_id"
        told = await self._suite.query("notify", counted)
        effects = {row["event_id"]: row["n"] for row in told if row["event_id"] in replied}
        findings.note("lost", len(handled - effects.keys()), "a reply was handled, but nobody was told")
        again = sum(count - 1 for count in effects.values())
        findings.note("applied_twice", again, "somebody was told twice of the same event")
        invoiced = "SELECT order_id FROM documents WHERE kind = 'invoice' GROUP BY order_id HAVING count(*) > 1"
        findings.note("applied_twice", len(await self._suite.query("billing", invoiced)), "an order invoiced twice")

    async def _ids(self, service: str, query: str) -> set[UUID]:
        return {row["event_id"] for row in await self._suite.query(service, query)}
