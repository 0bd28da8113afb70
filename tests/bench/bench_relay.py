"""The relay: events/s from the outbox to the broker's confirm, against aio-pika publishing the same bodies.

Both publish persistent, mandatory and confirmed to the same exchange and quorum queue, over connections with the same
settings. The raw side has its bodies in memory and a rolling window as wide as the relay's two batches; each aggregate
has two events, which the relay keeps in order and the raw side does not.
"""

from collections.abc import Sequence

from shared.bus import Envelope
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from tests.bench.backlogs import Cost, Store
from tests.bench.figures import Figure, Round, Sample, alternating, at_least, bench, interleaved, timed
from tests.bench.stand import Stand
from tests.bench.wires import WRITER, Wire, publish_raw

EVENTS = 3000
LOGS = (10_000, 100_000, 1_000_000)


class Bodies:
    """A transport that keeps what it is given: the bodies for the raw side."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        self.kept += [envelope.encode() for envelope in envelopes]
        return [True] * len(envelopes)


async def relay_all(store: Store, transport: Transport) -> None:
    """Relay until nothing waits, as a worker does that has been asked to stop."""
    relay = Relay(WRITER, store.database, transport)
    await relay.stop()
    await relay.run()


def rounds_of(store: Store, wire: Wire, transport: Transport, count: int) -> Round:
    async def relay() -> Sample:
        await store.wait(count)
        await wire.purge()
        return await timed(count, lambda: relay_all(store, transport))

    return relay


@bench("relay")
async def relay(stand: Stand) -> list[Figure]:
    wire, count = await Wire.of(stand), stand.many(EVENTS, least=100)
    transport = wire.transport()
    return [await _against_the_limit(stand, wire, transport, count), await _growth(stand, wire, transport, count)]


async def _against_the_limit(stand: Stand, wire: Wire, transport: Transport, count: int) -> Figure:
    store, exchange, bodies = await Store.of(stand), await wire.exchange(), Bodies()
    await store.wait(count)
    await relay_all(store, bodies)  # type: ignore[arg-type]

    async def raw() -> Sample:
        await wire.purge()
        return await timed(count, lambda: publish_raw(exchange, bodies.kept))

    mine, limit = await interleaved(rounds_of(store, wire, transport, count), raw)
    counted = await Store.of(stand)
    cost = Cost(counted.database)
    await counted.wait(count)
    await cost.of(lambda: relay_all(counted, transport))
    return Figure(
        "relay",
        value=mine.rate,
        unit="events/s",
        limit=limit.rate,
        ratio=mine.rate / limit.rate,
        goals=(at_least("ratio", 0.6),),
        record="0017",
        notes=cost.notes(count),
    )


async def _growth(stand: Stand, wire: Wire, transport: Transport, count: int) -> Figure:
    """The same work behind a log of 1×, 10× and 100× events; the limit is the rate at 1×."""
    sizes, runs = [stand.many(size) for size in LOGS], []
    for size in sizes:
        store = await Store.of(stand)
        await store.grow_log(size)
        runs.append(rounds_of(store, wire, transport, count))
    rates = [found.rate for found in await alternating(*runs)]
    return Figure(
        "relay growth",
        value=rates[-1],
        unit="events/s",
        limit=rates[0],
        ratio=rates[-1] / rates[0],
        goals=(at_least("ratio", 0.8),),
        record="0017",
        series=tuple((size, rate, None) for size, rate in zip(sizes, rates, strict=True)),
    )
