"""The broker's queues at a restore: what waits there are events of a future that is lost."""

from aio_pika.exceptions import ChannelNotFoundEntity

from deploy.backup.places import Place
from shared.bus.amqp import BROKER_ERRORS, connect
from shared.bus.topology import names
from shared.events import SERVICES


class BrokerAway(RuntimeError):
    """COWORK_AMQP_URL is set, and nobody answers there."""


async def purge_queues(place: Place, *, dry_run: bool = False) -> int:
    """Empty every service's queue and its dead letters; return how many events. Raises BrokerAway.

    `dry_run` only counts them. Without a broker there is nothing to empty: the local transport waits in the databases.
    """
    if place.amqp_url is None:
        return 0
    found = 0
    try:
        async with await connect(place.amqp_url, name="cowork-restore") as connection:
            for queue in [name for service in SERVICES for name in names(place.namespace, service)]:
                channel = await connection.channel()
                try:
                    declared = await channel.declare_queue(queue, passive=True)
                except ChannelNotFoundEntity:
                    continue
                found += declared.declaration_result.message_count or 0
                if not dry_run:
                    await declared.purge()
                await channel.close()
    except BROKER_ERRORS as error:
        raise BrokerAway(
            "COWORK_AMQP_URL is set and nobody answers there: its queues hold events that must go"
        ) from error
    return found
