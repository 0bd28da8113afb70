"""What the fault runs do to RabbitMQ really happens to it."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPException, ChannelNotFoundEntity

from tests.support.cluster import Cluster
from tests.support.rabbitmq import Node

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
# A node writes down a moment later which quorum queues it has; killed before that, it never serves the queue again.
REGISTERED_SECONDS = 2


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as node:
        yield node


async def connect(node: Node) -> tuple[AbstractConnection, AbstractChannel]:
    connection = await aio_pika.connect(node.url() + "?heartbeat=2", timeout=60)
    return connection, await connection.channel()


async def send(node: Node, queue: str, body: bytes = b"kept") -> None:
    """Publish one persistent message to a quorum queue and wait for its confirm."""
    connection, channel = await connect(node)
    async with connection:
        await channel.declare_queue(queue, durable=True, arguments=QUORUM)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue, timeout=60)


async def receive(node: Node, queue: str) -> bytes:
    """Consume one message, as a client does: connect again while the queue has no leader."""
    for _ in range(20):
        try:
            return await asyncio.wait_for(consume(node, queue), 5)
        except (AMQPException, ConnectionError, TimeoutError):
            await asyncio.sleep(0.3)
    raise TimeoutError(queue)


async def consume(node: Node, queue: str) -> bytes:
    connection, channel = await connect(node)
    async with connection:
        declared = await channel.declare_queue(queue, durable=True, arguments=QUORUM)
        async with declared.iterator() as messages:
            message = await anext(messages)
            await message.ack()
            return message.body


async def is_blocked(node: Node, *, seconds: float = 60) -> bool:
    """Whether a publisher gets no confirm within some seconds."""
    try:
        await asyncio.wait_for(send(node, "blocked"), seconds)
    except TimeoutError:
        return True
    return False


async def test_a_confirmed_message_survives_kill_9_and_is_gone_after_a_wipe(node: Node) -> None:
    await send(node, "kept")
    await asyncio.sleep(REGISTERED_SECONDS)
    killed, port = node.pid, node.port
    await asyncio.to_thread(node.kill)
    assert not Path(f"/proc/{killed}").exists()
    await asyncio.to_thread(node.start)
    assert (node.port, node.pid != killed) == (port, True)
    assert await receive(node, "kept") == b"kept"

    await send(node, "kept")
    await asyncio.to_thread(node.stop)
    node.wipe()
    await asyncio.to_thread(node.start)
    assert "kept" not in await asyncio.to_thread(node.queues)


async def test_a_frozen_node_is_noticed_by_the_heartbeat_only_and_goes_on_afterwards(node: Node) -> None:
    connection, _ = await connect(node)
    closed = asyncio.Event()
    connection.close_callbacks.add(lambda *_: closed.set())
    node.freeze()
    try:
        await asyncio.sleep(0.5)
        assert not closed.is_set()
        await asyncio.wait_for(closed.wait(), 60)
    finally:
        node.thaw()
    await send(node, "thawed")


@pytest.mark.parametrize("alarm", ["raise_memory_alarm", "raise_disk_alarm"])
async def test_an_alarm_holds_publishers_until_it_is_cleared(node: Node, alarm: str) -> None:
    assert not await is_blocked(node)
    await asyncio.to_thread(getattr(node, alarm))
    try:
        assert await is_blocked(node, seconds=2)
    finally:
        await asyncio.to_thread(node.clear_alarms)
    assert not await is_blocked(node)


async def test_without_permissions_nothing_is_published_until_they_are_back(node: Node) -> None:
    await send(node, "forbidden")
    await asyncio.to_thread(node.forbid)
    try:
        with pytest.raises(AMQPException):
            await send(node, "forbidden")
    finally:
        await asyncio.to_thread(node.allow)
    await send(node, "forbidden")


async def test_queues_are_counted_and_deleted(node: Node) -> None:
    await send(node, "counted")
    await asyncio.sleep(1.2)
    counted = (await asyncio.to_thread(node.queues))["counted"]
    assert counted == {"messages_ready": 1, "messages_unacknowledged": 0, "messages": 1}
    await asyncio.to_thread(node.delete_queue, "counted")
    connection, channel = await connect(node)
    async with connection:
        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_queue("counted", passive=True)


async def test_a_cluster_serves_its_queue_without_the_leader_and_confirms_nothing_without_a_majority() -> None:
    cluster = Cluster()
    try:
        await asyncio.to_thread(cluster.start)
        await send(cluster.nodes[0], "led", b"first")
        leader = await asyncio.to_thread(cluster.leader_of, "led")
        follower, other = await asyncio.to_thread(cluster.followers_of, "led")
        await asyncio.to_thread(leader.kill)
        assert await receive(follower, "led") == b"first"
        await send(other, "led", b"second")
        assert await asyncio.to_thread(cluster.leader_of, "led") in (follower, other)
        other.freeze()
        with pytest.raises((TimeoutError, AMQPException, ConnectionError)):
            await asyncio.wait_for(send(follower, "led", b"alone"), 3)
        other.thaw()
    finally:
        await asyncio.to_thread(cluster.close)


async def test_a_closed_node_leaves_no_process_and_no_file() -> None:
    node = Node()
    await asyncio.to_thread(node.start)
    folder, own = node.folder.parent, str(node.folder.parent).encode()
    assert any(own in environment for environment in environments())
    await asyncio.to_thread(node.close)
    assert not folder.exists()
    assert not any(own in environment for environment in environments())


def environments() -> Iterator[bytes]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield (entry / "environ").read_bytes()
            except OSError:
                continue  # it ended, or it is somebody else's
