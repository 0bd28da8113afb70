"""A broker that is killed and comes back finds its publishers and consumers again, without anybody's help."""

import asyncio
from collections.abc import Iterator

import pytest

from deploy.topology import declare
from shared.bus.amqp import AmqpTransport
from shared.bus.contracts import Envelope
from shared.bus.transport import Delivery, TransportDown
from shared.db import utc_now, uuid7
from shared.events.feed import PostPublished
from tests.support.rabbitmq import Node
from tests.support.testing import wait_for


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as node:
        yield node


async def test_a_consumer_and_a_publisher_come_back_after_their_broker_was_killed(node: Node) -> None:
    subscriptions = {"notify": [PostPublished.type]}
    await declare(node.url(), namespace="loss", subscriptions=subscriptions)
    transport = AmqpTransport(node.url(), namespace="loss", subscribed=subscriptions["notify"])
    seen: list[Delivery] = []

    async def consume() -> None:
        while True:
            try:
                await transport.consume("notify", subscriptions["notify"], seen.append, limit=10)
            except TransportDown:
                await asyncio.sleep(0.2)

    async def publish() -> bool:
        event = PostPublished(tenant_id=uuid7(), post_id=uuid7(), author_id=uuid7(), is_announcement=False)
        envelope = Envelope(
            uuid7(), event.type, event.tenant_id, event.key, 1, 0, utc_now(), event.model_dump(mode="json")
        )
        try:
            return (await transport.publish([envelope]))[0]
        except TransportDown:
            return False

    consuming = asyncio.create_task(consume())
    assert await wait_for(publish, seconds=30)
    await wait_for(lambda: len(seen) == 1, seconds=30)
    # RabbitMQ 3.10 writes the directory of its quorum queues a moment after it has declared them.
    await asyncio.sleep(2)
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.start)
    assert await wait_for(publish, seconds=30)
    # The first is delivered again: it was never acknowledged.
    await wait_for(lambda: len(seen) >= 3, seconds=30)
    consuming.cancel()
    await transport.close()


async def test_a_consumer_comes_back_after_its_queue_was_deleted(node: Node) -> None:
    subscriptions = {"notify": [PostPublished.type]}
    transport = AmqpTransport(node.url(), namespace="gone", subscribed=subscriptions["notify"])
    ended = 0

    async def consume() -> None:
        nonlocal ended
        while True:
            try:
                await transport.consume("notify", subscriptions["notify"], lambda _: None, limit=10)
            except TransportDown:
                ended += 1
                await asyncio.sleep(0.1)

    async def consumers() -> int:
        found = await asyncio.to_thread(node.queues, "consumers")
        return int(found["gone.notify.in"]["consumers"]) if "gone.notify.in" in found else 0

    consuming = asyncio.create_task(consume())
    await wait_for(consumers, seconds=30)
    await asyncio.to_thread(node.delete_queue, "gone.notify.in")
    await wait_for(lambda: ended, seconds=10)
    await wait_for(consumers, seconds=30)
    consuming.cancel()
    await transport.close()


async def test_a_publisher_that_finds_nothing_declared_leaves_no_connection_behind(node: Node) -> None:
    transport = AmqpTransport(node.url(), namespace="nothing", subscribed=[])
    for _ in range(3):
        with pytest.raises(TransportDown):
            await transport.publish([])
    await wait_for(lambda: "cowork-publish" not in node.ctl("list_connections", "client_properties"), seconds=10)
    await transport.close()
