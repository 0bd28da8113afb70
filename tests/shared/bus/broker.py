"""A broker in memory that breaks its word in every way a real one may, and in no other.

Confirms can be lost, messages can come twice, keys can overtake each other. What it never does, as RabbitMQ never
does: deliver a later event of a key before an earlier one was delivered once, or forget what it has confirmed
(`wipe` is the loss of its volume).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import Envelope
from shared.bus.transport import Deliver, Delivery, TransportDown


@dataclass(eq=False, frozen=True, slots=True)
class Message:
    id: UUID
    key: str
    version: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a batch at its n-th envelope: `refused`, `unconfirmed` (it is there), `cut` (nothing later is)."""

    kind: str
    at: int


@dataclass(eq=False)
class Broker:
    """One subscriber's queue: `ready` in order, `unacked` at the consumer, `history` to repeat from."""

    ready: list[Message] = field(default_factory=list)
    unacked: list[Message] = field(default_factory=list)
    history: list[Message] = field(default_factory=list)
    loses_acknowledgements: bool = False

    def enqueue(self, envelope: Envelope) -> None:
        message = Message(envelope.id, envelope.key, envelope.version, envelope.encode())
        self.ready.append(message)
        self.history.append(message)

    def deliver(self, count: int, deliver: Deliver) -> None:
        for message in self.ready[:count]:
            self.ready.remove(message)
            self.unacked.append(message)
            deliver(self._delivery(message))

    def repeat(self, index: int) -> None:
        """Put a copy of something older at the end, as a relay does that did not see its confirm."""
        older = self.history[index % len(self.history)]
        self.ready.append(Message(older.id, older.key, older.version, older.body))

    def swap(self, index: int) -> None:
        """Let a message overtake its neighbour of another key: publishes are pipelined across keys."""
        first, second = self.ready[index : index + 2]
        if first.key != second.key:
            self.ready[index : index + 2] = [second, first]

    def disconnect(self) -> None:
        """Take everything unacknowledged back to the head, in order."""
        self.ready[:0] = self.unacked
        self.unacked.clear()
        self.loses_acknowledgements = False

    def wipe(self) -> None:
        self.ready.clear()
        self.unacked.clear()
        self.history.clear()

    def _delivery(self, message: Message) -> Delivery:
        async def settle(_: AsyncSession) -> None:
            return None

        async def acknowledge() -> None:
            if not self.loses_acknowledgements and message in self.unacked:
                self.unacked.remove(message)

        return Delivery(message.body, settle, acknowledge)


class Wire:
    """One relay's connection to the broker: a Transport whose next batch has a fate and may be held up half-way."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.fate: Fate | None = None
        self.held_at: str | None = None
        self.reached = asyncio.Event()
        self.freed = asyncio.Event()

    async def publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        await self._hold("before")
        confirmed = self._publish(envelopes)
        await self._hold("after")
        return confirmed

    async def consume(self, service: str, types: Iterable[str], deliver: Deliver, *, limit: int) -> None:
        await asyncio.Event().wait()

    async def drain_dead(
        self,
        service: str,
        types: Iterable[str],
        park: Callable[[bytes], Awaitable[None]],
        none_left: Callable[[], None],
    ) -> None:
        none_left()
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None

    def _publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        fate, self.fate = self.fate, None
        confirmed, stuck = [False] * len(envelopes), set()
        for index, envelope in enumerate(envelopes):
            if envelope.key in stuck:
                continue
            meets_fate = fate is not None and fate.at % len(envelopes) == index
            if meets_fate and fate is not None:
                if fate.kind == "cut":
                    raise TransportDown
                stuck.add(envelope.key)
            if not meets_fate or (fate is not None and fate.kind == "unconfirmed"):
                self._broker.enqueue(envelope)
            confirmed[index] = not meets_fate
        return confirmed

    async def _hold(self, place: str) -> None:
        if self.held_at == place:
            self.held_at = None
            self.reached.set()
            await self.freed.wait()
