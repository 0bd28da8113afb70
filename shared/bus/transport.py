"""What a transport promises, whichever it is: a confirm means that every subscriber has the event durably."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import Envelope


class TransportDown(Exception):
    """The transport is not reachable now; what was not confirmed is published again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one subscriber.

    `settle` runs in the transaction that handles it, `acknowledge` after the commit. Neither run = delivered again.
    `sent_as` is the event type that the transport let its sender publish; None = nobody else could have sent it.
    """

    body: bytes
    settle: Callable[[AsyncSession], Awaitable[None]]
    acknowledge: Callable[[], Awaitable[None]]
    sent_as: str | None = None


Deliver = Callable[[Delivery], None]


class Transport(Protocol):
    """`amqp.AmqpTransport` and `local.LocalTransport` pass the same contract tests."""

    async def publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        """Publish in order per key, pipelined across keys; return per envelope whether it is confirmed.

        Raises TransportDown when nothing can be published now.
        """
        ...

    async def consume(self, service: str, types: Iterable[str], deliver: Deliver, *, limit: int) -> None:
        """Deliver this service's messages, at most `limit` unsettled, until cancelled.

        Raises TransportDown when the connection ends. `deliver` never blocks and never raises.
        """
        ...

    async def drain_dead(
        self,
        service: str,
        types: Iterable[str],
        park: Callable[[bytes], Awaitable[None]],
        none_left: Callable[[], None],
    ) -> None:
        """Hand over what the broker has given up on, until cancelled; `none_left` is called whenever none waits.

        Raises TransportDown.
        """
        ...

    async def close(self) -> None: ...
