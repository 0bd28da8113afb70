"""Between exchange and queues: every message again, or in another order, or something that is no message."""

import asyncio
import random
from collections import defaultdict
from typing import Any, Self

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue

from deploy.suite import subscriptions
from shared.bus.topology import names
from shared.events.subscribers import SUBSCRIBERS

PATIENCE_SECONDS = 0.5
# What tells the reader of the tap that nothing more comes.
END = b"end"


class Meddler:
    """`async with`: at the end what it still holds is handed on, and everything is bound as before."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._namespace = namespace
        self._tap_name = f"{namespace}.tap"
        self._random = random.Random(50)
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: AbstractConnection
        self._channel: AbstractChannel
        self._unbound: list[tuple[str, str]] = []
        self._held: list[bytes] = []

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._url)
        self._channel = await self._connection.channel(publisher_confirms=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(PATIENCE_SECONDS)
        await self._hand_on_shuffled()
        for queue, event_type in self._unbound:
            await (await self._channel.get_queue(queue)).bind(f"{self._namespace}.events", routing_key=event_type)
        # What was published before the last binding stood is in the tap alone: it is read to its end, however long it is.
        await asyncio.sleep(PATIENCE_SECONDS)
        if self._tasks:
            await self._channel.default_exchange.publish(aio_pika.Message(END), self._tap_name)
        await asyncio.gather(*self._tasks)
        await self._hand_on_shuffled()
        await self._connection.close()

    async def hand_to(self, service: str, body: bytes) -> None:
        """Put bytes into a service's queue."""
        queue, _ = names(self._namespace, service)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._channel.default_exchange.publish(message, queue)

    async def repeat_everything(self, *, times: int) -> None:
        """Hand every message that is published from now on to its subscribers `times` more."""

        async def repeat(body: bytes) -> None:
            for _ in range(times):
                await self._hand_on(body)

        await self._tap(repeat)

    async def shuffle_everything(self, *, window: int) -> None:
        """Take the place of the bindings: hand messages on in windows, keys mixed, and then each of them once more."""
        await self._tap(self._hold(window))
        for service, types in subscriptions().items():
            name, _ = names(self._namespace, service)
            queue = await self._channel.get_queue(name)
            for event_type in types:
                await queue.unbind(f"{self._namespace}.events", routing_key=event_type)
                self._unbound.append((name, event_type))

    def _hold(self, window: int) -> Any:
        async def hold(body: bytes) -> None:
            self._held.append(body)
            if len(self._held) >= window:
                await self._hand_on_shuffled()

        return hold

    async def _hand_on_shuffled(self) -> None:
        held, self._held = self._held, []
        lanes: dict[str, list[bytes]] = defaultdict(list)
        for body in held:
            lanes[orjson.loads(body)["subject"]].append(body)
        order = [orjson.loads(body)["subject"] for body in held]
        self._random.shuffle(order)
        for key in order:
            await self._hand_on(lanes[key].pop(0))
        for body in self._random.sample(held, len(held)):
            await self._hand_on(body)

    async def _hand_on(self, body: bytes) -> None:
        for service in SUBSCRIBERS.get(orjson.loads(body)["type"], ()):
            await self.hand_to(service, body)

    async def _tap(self, take: Any) -> None:
        """Read a copy of everything that is published."""
        exchange = await self._channel.get_exchange(f"{self._namespace}.events")
        queue = await self._channel.declare_queue(self._tap_name, auto_delete=True, exclusive=True)
        for event_type in SUBSCRIBERS:
            await queue.bind(exchange, routing_key=event_type)
        self._tasks.append(asyncio.create_task(self._read(queue, take)))

    async def _read(self, queue: AbstractQueue, take: Any) -> None:
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                if message.body == END:
                    return
                await take(message.body)
